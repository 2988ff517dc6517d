// A log shipper: four readers parse lines and hand them through a channel to the one goroutine that packs them, in order.
// Models a stage that only one thread can do, while others wait for it and CPUs idle.
// usage: PROGRAM
package main

import "runtime"

type line struct {
	number uint64
	parsed chan uint64
}

//go:noinline
func parseLine(number uint64) uint64 {
	for i := 0; i < 2000; i++ {
		number = number*6364136223846793005 + 1
	}
	return number
}

//go:noinline
func packLine(state, number uint64) uint64 {
	for i := 0; i < 200000; i++ {
		state = state*6364136223846793005 + number
	}
	return state
}

func readLines(lines chan<- line, number uint64) {
	reply := make(chan uint64)
	for ; ; number++ {
		lines <- line{parseLine(number), reply}
		<-reply
	}
}

func main() {
	lines := make(chan line)
	for reader := uint64(0); reader < 4; reader++ {
		go readLines(lines, reader)
	}
	runtime.LockOSThread()
	state := uint64(1)
	for next := range lines {
		state = packLine(state, next.number)
		next.parsed <- state
	}
}
