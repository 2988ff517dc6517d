// Orders over HTTP, worked off by goroutines that share a map under a lock, answered as JSON.
package main

import (
	"encoding/json"
	"net/http"
	"os"
	"sort"
	"strconv"
	"sync"
)

type line struct {
	ID    int    `json:"id"`
	Name  string `json:"name"`
	Price int    `json:"price"`
}

type order struct {
	seed  int
	reply chan []line
}

var (
	orders = make(chan order, 16)
	lock   sync.Mutex
	totals = map[int]int{}
)

func pick(seed int) []line {
	lines := make([]line, 0, 100)
	for n := 0; n < 100; n++ {
		price := (seed*31 + n*7919) % 1009
		lines = append(lines, line{n, "article " + strconv.Itoa(n), price})
	}
	sort.Slice(lines, func(a, b int) bool { return lines[a].Price < lines[b].Price })
	return lines
}

func count(lines []line) int {
	lock.Lock()
	defer lock.Unlock()
	for _, each := range lines {
		totals[each.ID] += each.Price
	}
	return len(totals)
}

func work() {
	for each := range orders {
		lines := pick(each.seed)
		count(lines)
		each.reply <- lines
	}
}

func serve(response http.ResponseWriter, request *http.Request) {
	reply := make(chan []line)
	orders <- order{len(request.RequestURI), reply}
	body, err := json.Marshal(<-reply)
	if err != nil {
		http.Error(response, err.Error(), http.StatusInternalServerError)
		return
	}
	response.Header().Set("Content-Type", "application/json")
	response.Write(body)
}

func main() {
	for n := 0; n < 4; n++ {
		go work()
	}
	if err := http.ListenAndServe("127.0.0.1:"+os.Args[1], http.HandlerFunc(serve)); err != nil {
		panic(err)
	}
}
