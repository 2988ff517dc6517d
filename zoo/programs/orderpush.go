// Pushes a shop's orders to a queue in Redis, each on a connection of its own, to the first of the queue's machines that
// takes it.
// usage: PROGRAM ADDRESS...
package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

var dialer = net.Dialer{Timeout: 800 * time.Millisecond}

func connect(machines []string) (net.Conn, error) {
	for _, machine := range machines {
		if line, err := dialer.Dial("tcp", machine); err == nil {
			return line, nil
		}
	}
	return nil, errors.New("no machine takes orders")
}

func push(machines []string, order int) error {
	line, err := connect(machines)
	if err != nil {
		return err
	}
	defer line.Close()
	fmt.Fprintf(line, "LPUSH orders %d\r\nLTRIM orders 0 99\r\n", order)
	answers := bufio.NewReader(line)
	for answer := 0; answer < 2; answer++ {
		if _, err = answers.ReadString('\n'); err != nil {
			return err
		}
	}
	return nil
}

func main() {
	for order := 0; ; order++ {
		for push(os.Args[1:], order) != nil {
			time.Sleep(100 * time.Millisecond)
		}
	}
}
