//go:build !linux

package main

// mountedIn is not known here: an administrator who mounts things in homes deletes by hand.
func mountedIn(string) error { return nil }
