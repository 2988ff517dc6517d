// A route service with a large table of small records that point to each other; every request makes a few new ones. Its
// environment asks the runtime to keep memory small.
// Models a runtime that collects garbage most of the time.
// usage: PROGRAM
package main

type hop struct {
	name string
	next *hop
	cost int64
}

var (
	table [1 << 18]*hop
	best  int64
)

//go:noinline
func findRoute(from uint64) int64 {
	var first *hop
	for i := uint64(0); i < 64; i++ {
		known := table[(from+i*7919)%uint64(len(table))]
		first = &hop{name: known.name, next: first, cost: known.cost}
	}
	cost := int64(0)
	for at := first; at != nil; at = at.next {
		cost += at.cost
	}
	table[from%uint64(len(table))] = &hop{name: "via", next: table[(from+1)%uint64(len(table))], cost: cost % 97}
	table[from%uint64(len(table))].next = nil
	return cost
}

func main() {
	for i := range table {
		table[i] = &hop{name: "direct", cost: int64(i % 97)}
	}
	for from := uint64(1); ; from = from*6364136223846793005 + 1 {
		best += findRoute(from >> 33)
	}
}
