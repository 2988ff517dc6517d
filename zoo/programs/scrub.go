// Scrubs a backup: reads its blocks past the page cache, many at once, in an order that changes, and compares their checksums
// with those of the last round.
// usage: PROGRAM FILE READERS
package main

import (
	"hash/crc32"
	"log"
	"math/rand"
	"os"
	"strconv"
	"syscall"
	"unsafe"
)

const size = 256 << 10

func block() []byte {
	room := make([]byte, size+4096)
	ahead := (4096 - int(uintptr(unsafe.Pointer(&room[0]))%4096)) % 4096
	return room[ahead : ahead+size]
}

func scrub(file *os.File, numbers <-chan int, sums []uint32) {
	data := block()
	for number := range numbers {
		if _, err := file.ReadAt(data, int64(number)*size); err != nil {
			log.Fatal(err)
		}
		sum := crc32.ChecksumIEEE(data[:4096])
		if sums[number] != 0 && sums[number] != sum {
			log.Printf("block %d has changed", number)
		}
		sums[number] = sum
	}
}

func main() {
	readers, err := strconv.Atoi(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	file, err := os.OpenFile(os.Args[1], os.O_RDONLY|syscall.O_DIRECT, 0)
	if err != nil {
		log.Fatal(err)
	}
	about, err := file.Stat()
	if err != nil {
		log.Fatal(err)
	}
	blocks := int(about.Size() / size)
	numbers := make(chan int)
	sums := make([]uint32, blocks)
	for reader := 0; reader < readers; reader++ {
		go scrub(file, numbers, sums)
	}
	for {
		for _, number := range rand.Perm(blocks) {
			numbers <- number
		}
	}
}
