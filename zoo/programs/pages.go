// Loads pages with many pictures as a browser does: all of a page's pictures at once, each on a connection of its own, and
// the next page when the last picture is there.
// usage: PROGRAM ADDRESS PICTURES
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"
)

var client = http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

func loadPicture(url string) {
	for {
		answer, err := client.Get(url)
		if err == nil {
			_, err = io.Copy(io.Discard, answer.Body)
			answer.Body.Close()
		}
		if err == nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func loadPage(address string, pictures int) {
	var page sync.WaitGroup
	for number := 1; number <= pictures; number++ {
		page.Add(1)
		go func(url string) {
			defer page.Done()
			loadPicture(url)
		}(fmt.Sprintf("http://%s/%d.webp", address, number))
	}
	page.Wait()
}

func main() {
	pictures, err := strconv.Atoi(os.Args[2])
	if err != nil {
		os.Exit(2)
	}
	for {
		loadPage(os.Args[1], pictures)
	}
}
