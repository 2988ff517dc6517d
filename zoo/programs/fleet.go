// A fleet of vehicles that report where they are to a tracker by UDP, all of them at the same moment; what a vehicle has
// no answer to, it tells again with its next report.
// usage: PROGRAM ADDRESS VEHICLES
package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"time"
)

var seen atomic.Int64

func listen(line net.Conn) {
	answer := make([]byte, 2048)
	for {
		if _, err := line.Read(answer); err == nil {
			seen.Add(1)
		}
	}
}

func main() {
	vehicles, err := strconv.Atoi(os.Args[2])
	line, failed := net.Dial("udp", os.Args[1])
	if err != nil || failed != nil {
		os.Exit(2)
	}
	go listen(line)
	sent := 0
	for moment := range time.Tick(500 * time.Millisecond) {
		for vehicle := 0; vehicle < vehicles; vehicle++ {
			sent++
			fmt.Fprintf(line, `{"vehicle": %d, "number": %d, "at": %d, "lat": %.4f, "lon": %.4f}`,
				vehicle, sent, moment.Unix(), 48+float64(vehicle%700)/1000, 11+float64(vehicle%900)/1000)
		}
		fmt.Fprintf(os.Stderr, "\r%d of %d answered", seen.Load(), sent)
	}
}
