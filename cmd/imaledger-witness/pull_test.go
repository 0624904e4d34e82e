package main

import (
	"crypto/rand"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/imaledger/imaledger/witness"
)

// Who writes a list can add logs, and nothing else: neither logs that the witness
// has no way to sign for, nor so many that what was added cannot be read again,
// keep the others out, the operator's from changing, or the witness from starting.
func TestPullOfAnEnemy(t *testing.T) {
	dir := t.TempDir()
	post, err := witness.GenerateMLDSAKey(rand.Reader, "witness.example/pq")
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir+"/key", post.Secret()+"\n", 0o600)
	author, own, later, listed := newServiceLog(t, "lists.example"), newServiceLog(t, "log.example/own"), newServiceLog(t, "log.example/later"), newServiceLog(t, "log.example/listed")
	list := "logs/v0\n" + newServiceLog(t, strings.Repeat("o", 300)).list() +
		"\nvkey " + post.VKey() + "\nqpd 1\ncontact x\n" + listed.list()
	signed, err := note.Sign(&note.Note{Text: list}, author.signer)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(signed) }))
	defer server.Close()
	write(t, dir+"/logs", "logs/v0\n"+own.list(), 0o600)
	args := []string{"--listen", "127.0.0.1:0", "--key", dir + "/key", "--state", dir + "/state", "--logs", dir + "/logs", "--pull", server.URL + " " + author.vkey}
	_, url, stop := startWitness(t, args...)
	eventually(t, "the list's honest log", func() bool { status, _ := listed.cosign(t, http.DefaultClient, url, 0, 7, 1); return status != 404 })
	write(t, dir+"/logs", "logs/v0\n"+own.list()+later.list(), 0o600)
	eventually(t, "the operator's new log", func() bool { status, _ := later.cosign(t, http.DefaultClient, url, 0, 7, 1); return status != 404 })
	stop()
	_, url, stop = startWitness(t, args...)
	defer stop()
	if status, _ := own.cosign(t, http.DefaultClient, url, 0, 7, 1); status != 200 {
		t.Errorf("after a restart: %d", status)
	}
}

// What could not be read again is not kept.
func TestPullTooMuch(t *testing.T) {
	p := pull{url: "https://lists.example"}
	dir := t.TempDir()
	log, err := witness.ParseLog(newServiceLog(t, "log.example").vkey)
	if err != nil {
		t.Fatal(err)
	}
	log.QPD, log.Contact = 1, strings.Repeat("x", witness.MaxLogList)
	if err := p.keep(dir, []witness.Log{log}); err == nil {
		t.Error("kept")
	}
	if logs, err := p.kept(dir); err != nil || len(logs) != 0 {
		t.Errorf("%d logs, %v", len(logs), err)
	}
	log.Contact = "x"
	if err := p.keep(dir, []witness.Log{log}); err != nil {
		t.Error(err)
	}
	if logs, err := p.kept(dir); err != nil || len(logs) != 1 {
		t.Errorf("%d logs, %v", len(logs), err)
	}
}
