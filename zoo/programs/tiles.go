// A map tile renderer: every worker draws a small tile in a buffer outside Go's heap and hands the buffer's memory back to
// the kernel after each. Models address-space changes that interrupt the other CPUs of a process.
// usage: PROGRAM
package main

import (
	"os"
	"runtime"
	"syscall"
)

const bufferSize = 256 << 10

//go:noinline
func drawTile(buffer []byte, seed uint64) {
	for i := 0; i < 512; i++ {
		seed = seed*6364136223846793005 + 1
		buffer[i] = byte(seed >> 56)
	}
}

func work(seed uint64) {
	buffer, err := syscall.Mmap(-1, 0, bufferSize, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	for ; err == nil; seed++ {
		drawTile(buffer, seed)
		err = syscall.Madvise(buffer, syscall.MADV_DONTNEED)
	}
	os.Exit(1)
}

func main() {
	for worker := 1; worker < runtime.NumCPU(); worker++ {
		go work(uint64(worker))
	}
	work(0)
}
