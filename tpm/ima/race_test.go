//go:build race

package ima

const raceEnabled = true
