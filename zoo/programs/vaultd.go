// An archive: it takes in recordings, and keeps the digest of each camera's latest.
// usage: PROGRAM ADDRESS
package main

import (
	"crypto/sha256"
	"io"
	"log"
	"net/http"
	"os"
	"path"
	"sync"
)

type vault struct {
	lock    sync.Mutex
	digests map[string][]byte
}

func (v *vault) ServeHTTP(answer http.ResponseWriter, request *http.Request) {
	digest := sha256.New()
	if _, err := io.Copy(digest, request.Body); err != nil {
		return
	}
	v.lock.Lock()
	v.digests[path.Dir(request.URL.Path)] = digest.Sum(nil)
	v.lock.Unlock()
	answer.WriteHeader(http.StatusNoContent)
}

func main() {
	log.Fatal(http.ListenAndServe(os.Args[1], &vault{digests: map[string][]byte{}}))
}
