//go:build !race

package ima

const raceEnabled = false
