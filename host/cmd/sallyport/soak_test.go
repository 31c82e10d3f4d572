//go:build soak

package main

import "testing"

// TestSoakMirror is TestMirror with 1 GiB in 5,000 files.
func TestSoakMirror(t *testing.T) {
	needPrograms(t, "lftp")
	mirror(t, 5000, 1<<30)
}

// TestSoakKill is TestKill a hundred times.
func TestSoakKill(t *testing.T) {
	needPrograms(t, "curl")
	killRounds(t, 100)
}

// TestSoakReload is TestReloadsLeaveMemoryFlat a thousand times.
func TestSoakReload(t *testing.T) { reloads(t, 1000) }

func TestSoakKilledWhileAPasswordChanges(t *testing.T) { killWhileChanging(t, 60) }
