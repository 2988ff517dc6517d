// Coaches arrive at a ticket office: all passengers of one go there at the same time, each on a connection of its own, and
// the next coach comes when all have their tickets.
// usage: PROGRAM PORT PASSENGERS WISH
package main

import (
	"net"
	"os"
	"strconv"
	"sync"
	"time"
)

//go:noinline
func buyTicket(address string) {
	office, err := net.Dial("tcp", address)
	if err != nil {
		time.Sleep(50 * time.Millisecond)
		return
	}
	defer office.Close()
	ticket := make([]byte, 64)
	if _, err = office.Write([]byte(os.Args[3])); err == nil {
		office.Read(ticket)
	}
}

func main() {
	passengers, _ := strconv.Atoi(os.Args[2])
	for {
		var coach sync.WaitGroup
		for i := 0; i < passengers; i++ {
			coach.Add(1)
			go func() {
				defer coach.Done()
				buyTicket("127.0.0.1:" + os.Args[1])
			}()
		}
		coach.Wait()
		time.Sleep(30 * time.Millisecond)
	}
}
