// A kitchen: a goroutine cooks, another lets it rest, and each dish goes to and fro through channels.
package main

import (
	"fmt"
	"os"
	"time"
)

const (
	dishes = 40
	own    = 10 * time.Millisecond
	cooks  = 50 * time.Millisecond
	rests  = 35 * time.Millisecond
)

var sum uint64

func compute(length time.Duration) time.Duration {
	begin := time.Now()
	for time.Since(begin) < length {
		for i := uint64(0); i < 20000; i++ {
			sum = sum*6364136223846793005 + i
		}
	}
	return time.Since(begin)
}

func main() {
	raw, cooked, served := make(chan int), make(chan int), make(chan int)
	var running, sleep time.Duration
	go func() {
		for dish := range raw {
			running += compute(cooks)
			cooked <- dish
		}
		close(cooked)
	}()
	go func() {
		for dish := range cooked {
			begin := time.Now()
			time.Sleep(rests)
			sleep += time.Since(begin)
			served <- dish
		}
	}()
	begin := time.Now()
	for dish := 0; dish < dishes; dish++ {
		running += compute(own)
		raw <- dish
		<-served
	}
	job := time.Since(begin)
	fmt.Fprintln(os.Stderr, "truth kitchen running", running.Microseconds())
	fmt.Fprintln(os.Stderr, "truth kitchen sleep", sleep.Microseconds())
	fmt.Fprintln(os.Stderr, "job", job.Microseconds())
}
