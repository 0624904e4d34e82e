//go:build !guest

package main

// step is for tests in a guest.
func step() func(string) { return nil }
