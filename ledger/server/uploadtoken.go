package server

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/imaledger/imaledger/ledger"
)

// An upload token lets its bearer upload addenda in one uploader's name, until it
// expires. It proves nothing about the evidence: what a host states is proven by
// its TPM's quote alone. So whoever steals one can fill the host's share of
// pending bytes for a while, and no more.
//
// Nobody asks for one: it comes with the answer to an entry that the host's TPM
// has signed and that the log does not have. See uploader.
//
//	token   = "imaledger-upload-" BASE64URL( mac | expires | uploader )
//	mac     = HMAC-SHA-256( key, "imaledger/upload-token/v1" LF | expires | uploader ), 32 bytes
//	expires = Unix seconds, eight bytes, big-endian
//
// The server keeps none of them: whichever front end has the key knows them all.
const (
	tokenPrefix  = "imaledger-upload-"
	tokenContext = "imaledger/upload-token/v1\n"
	tokenKeySize = 32
	tokenKeyFile = "upload-token.key"

	// DefaultTokenLife is how long an upload token is good: some of the agent's
	// rounds, each of which brings a new one.
	DefaultTokenLife = time.Hour
)

// errUploadToken does not say what is wrong with a token: whoever has a good one
// need not know, and others shall not learn.
var errUploadToken = errors.New("the upload token has expired or is not this ledger's; submit the entry, and the answer has a new one")

// tokens makes and reads upload tokens.
type tokens struct {
	key  []byte
	life time.Duration
	now  func() time.Time
}

func (t *tokens) mac(body []byte) []byte {
	h := hmac.New(sha256.New, t.key)
	io.WriteString(h, tokenContext)
	h.Write(body)
	return h.Sum(nil)
}

// issue makes a token for an uploader.
func (t *tokens) issue(uploader string) (token string, expires time.Time) {
	expires = t.now().Add(t.life).Truncate(time.Second)
	body := append(binary.BigEndian.AppendUint64(nil, uint64(expires.Unix())), uploader...)
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(append(t.mac(body), body...)), expires
}

// read returns whose a token is. The MAC is compared before anything else is
// looked at, in constant time.
func (t *tokens) read(token string) (uploader string, err error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(strings.TrimPrefix(token, tokenPrefix))
	if err != nil || len(b) < sha256.Size+8 {
		return "", errUploadToken
	}
	mac, body := b[:sha256.Size], b[sha256.Size:]
	if !hmac.Equal(mac, t.mac(body)) {
		return "", errUploadToken
	}
	if t.now().Unix() >= int64(binary.BigEndian.Uint64(body)) {
		return "", errUploadToken
	}
	return string(body[8:]), nil
}

// readTokenKey reads the key that upload tokens are made with from the ledger's
// directory. The first start makes one; one that is replaced makes every token
// void, and hosts get new ones with their next entry.
func readTokenKey(dir string, random io.Reader) ([]byte, error) {
	name := filepath.Join(dir, tokenKeyFile)
	key, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		key = make([]byte, tokenKeySize)
		if _, err := io.ReadFull(random, key); err != nil {
			return nil, err
		}
		return key, os.WriteFile(name, key, 0o600)
	}
	if err == nil && len(key) < tokenKeySize {
		err = fmt.Errorf("%s: %d bytes, want %d or more; remove it, and the next start makes one", name, len(key), tokenKeySize)
	}
	return key, err
}

// operatorUploader begins the name of an uploader that is no host: an operator
// whose key has signed a statement. No host name has such a byte.
const operatorUploader = "operator "

// uploaderOf returns in whose name the addenda of an entry are uploaded.
func uploaderOf(entry ledger.Entry, by []string) string {
	if e, ok := entry.(ledger.HostEntry); ok {
		host, _, _ := e.Link()
		return host
	}
	if len(by) > 0 {
		return operatorUploader + by[0]
	}
	return ""
}
