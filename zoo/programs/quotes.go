// A service that answers with shipping quotes as JSON.
// usage: PROGRAM PORT
package main

import (
	"encoding/json"
	"net/http"
	"os"
	"sync/atomic"
)

type quote struct {
	Zone  int     `json:"zone"`
	Days  int     `json:"days"`
	Price float64 `json:"price"`
}

var served atomic.Int64

func quotesFor(parcel int64) []quote {
	quotes := make([]quote, 0, 30)
	for zone := 0; zone < 30; zone++ {
		quotes = append(quotes, quote{zone, 1 + zone%5, 3.5 + float64(parcel%17)*float64(zone)/4})
	}
	return quotes
}

func main() {
	http.HandleFunc("/", func(answer http.ResponseWriter, request *http.Request) {
		answer.Header().Set("Content-Type", "application/json")
		json.NewEncoder(answer).Encode(quotesFor(served.Add(1)))
	})
	if http.ListenAndServe("127.0.0.1:"+os.Args[1], nil) != nil {
		os.Exit(1)
	}
}
