// Seals documents with a checksum of its own making, byte by byte and many rounds each.
// Models an expensive function in the program's own code.
// usage: PROGRAM
package main

var sum uint64

//go:noinline
func sealDocument(text []byte) uint64 {
	seal := uint64(14695981039346656037)
	for round := 0; round < 50; round++ {
		for _, letter := range text {
			seal = (seal ^ uint64(letter)) * 1099511628211
		}
	}
	return seal
}

//go:noinline
func writeDocument(number uint64) []byte {
	text := make([]byte, 8192)
	for i := range text {
		text[i] = byte(number >> (i % 56))
	}
	return text
}

func main() {
	for number := uint64(1); ; number++ {
		sum += sealDocument(writeDocument(number * 7919))
	}
}
