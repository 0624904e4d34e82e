package witness_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"

	"golang.org/x/mod/sumdb/note"

	"github.com/imaledger/imaledger/witness"
)

// Three witnesses in one process cosign the first checkpoint of a log.
func Example() {
	dir, err := os.MkdirTemp("", "witnesses")
	check(err)
	defer os.RemoveAll(dir)
	logKey, logVKey, err := note.GenerateKey(rand.Reader, "log.example")
	check(err)
	logSigner, err := note.NewSigner(logKey)
	check(err)
	cosigned, err := note.Sign(&note.Note{
		Text: "log.example\n1\n" + base64.StdEncoding.EncodeToString(make([]byte, 32)) + "\n",
	}, logSigner)
	check(err)

	request := append([]byte("old 0\n\n"), cosigned...)
	for i := range 3 {
		name := fmt.Sprintf("witness.example/w%d", i+1)
		key, err := witness.GenerateKey(rand.Reader, name)
		check(err)
		cosignFor, err := witness.ParseLog(logVKey)
		check(err)
		w, err := witness.New(witness.Config{
			Keys: []*witness.Key{key},
			Logs: []witness.Log{cosignFor},
			Dir:  filepath.Join(dir, fmt.Sprint(i)),
		})
		check(err)
		defer w.Close()
		server := httptest.NewServer(w)
		defer server.Close()

		answer, err := http.Post(server.URL+"/add-checkpoint", "", bytes.NewReader(request))
		check(err)
		line, err := io.ReadAll(answer.Body)
		check(err)
		answer.Body.Close()
		cosigned = append(cosigned, line...)
	}
	fmt.Println(bytes.Count(cosigned, []byte("— witness.example/w")), "cosignatures")
	// Output: 3 cosignatures
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
