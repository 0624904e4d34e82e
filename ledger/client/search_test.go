package client

import (
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/imaledger/imaledger/tpm/ima"
)

func TestSearchQuery(t *testing.T) {
	number := func(n uint32) *uint32 { return &n }
	for _, q := range []SearchQuery{
		{},
		{Filter: ima.Filter{Digest: ima.FileDigest{Algorithm: "sha3-256", Digest: make([]byte, 32)}, Path: "/a b&c=d/é", Glob: "/*?", KeyID: number(0xab), PCR: number(0), Template: "ima-ng"}},
		{Filter: ima.Filter{Digest: ima.FileDigest{Type: "verity", Algorithm: "sha256", Digest: make([]byte, 32)}}, Host: "web-1", Since: 5, Until: 6, Size: 8, Limit: 7, After: &SearchPosition{0, 9}},
		{Filter: ima.Filter{Digest: ima.FileDigest{Digest: make([]byte, 20)}}},
	} {
		v, err := url.ParseQuery(q.Values().Encode())
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseSearchQuery(v)
		if err != nil || !reflect.DeepEqual(*got, q) {
			t.Errorf("%s: %+v, %v", q.Values().Encode(), got, err)
		}
	}
	for _, bad := range []string{
		"digest=xyz", "pcr=x", "pcr=4294967296", "key-id=12345678+", "key-id=" + strings.Repeat("0", 65), "key-id=::", "key-id=-1", "key-id=0x", "since=-1", "size=x", "since=7&until=6", "limit=0", "after=1", "after=x.1", "host=A", "host=../x",
		"paht=/bin/sh", "path=", "path=/a&path=/b", "path=%00", "path=" + strings.Repeat("x", MaxSearchText+1), "until=9223372036854775808",
	} {
		v, err := url.ParseQuery(bad)
		if err != nil {
			t.Fatal(err)
		}
		if q, err := ParseSearchQuery(v); err == nil {
			t.Errorf("%.40s: %+v", bad, q)
		}
	}
}

// TestParseKeyID: a key's name is read as other tools show it.
func TestParseKeyID(t *testing.T) {
	for text, want := range map[string]uint32{
		"80c0ffee": 0x80c0ffee, "0x80C0FFEE": 0x80c0ffee, "1": 1, "2A:00:80:C0:FF:EE": 0x80c0ffee, "fea56d2608b35a7ff622960872973f5815613129": 0x15613129,
	} {
		if id, err := ParseKeyID(text); err != nil || *id != want {
			t.Errorf("%s: %v, %v", text, id, err)
		}
	}
}
