// A seat service: eight sellers look up and take seats under one mutex; the planner rebuilds the plan under it.
// Models goroutines that wait for a mutex that one of them holds too long.
// usage: PROGRAM
package main

import (
	"runtime"
	"sync"
	"time"
)

var (
	plan  sync.Mutex
	seats [1 << 16]uint64
)

//go:noinline
func rebuildPlan() {
	plan.Lock()
	defer plan.Unlock()
	for turn := uint64(0); turn < 600; turn++ {
		for i := range seats {
			seats[i] = seats[i]*6364136223846793005 + turn
		}
	}
}

//go:noinline
func sellSeat(number uint64) {
	plan.Lock()
	seats[number%uint64(len(seats))]++
	plan.Unlock()
}

func main() {
	for seller := uint64(0); seller < 8; seller++ {
		go func(number uint64) {
			// Talks to a printer that wants one thread.
			runtime.LockOSThread()
			for {
				sellSeat(number)
				number += 7919
				time.Sleep(500 * time.Microsecond)
			}
		}(seller)
	}
	for {
		rebuildPlan()
		time.Sleep(2 * time.Millisecond)
	}
}
