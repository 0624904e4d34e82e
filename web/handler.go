package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"time"
)

// Policy is the Content-Security-Policy of every page: nothing but files of the
// page's own origin, no script or style within HTML, no frame around it.
const Policy = inPage + "; frame-ancestors 'none'"

// inPage is what of it the page says of itself, for servers that add no headers.
const inPage = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; worker-src 'self'; " +
	"base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types imaledger"

// A Trust is a trust folder that the server offers to viewers: the texts of its
// files. A viewer who pins it without comparing its keys with another source takes
// the server's word for them.
type Trust struct {
	Policy string   `json:"policy"`
	Rules  string   `json:"rules"`
	Roots  []string `json:"roots"` // PEM
}

// A Config is what a Handler serves.
type Config struct {
	// Next answers all that is no file of the pages; nil for nothing.
	Next http.Handler
	// Trust is offered under /trust.json; nil for none.
	Trust *Trust
}

// Handler serves the pages at / and, by their paths, the files that they are made
// of. They ask for nothing but what Next, or a static server of a log's tiles,
// has beside them.
type Handler struct {
	next  http.Handler
	files map[string]file
}

// A file is held whole: there is little of it, and it never changes.
type file struct {
	content   []byte
	mediaType string
	etag      string
	gzip      []byte
}

// mediaTypes are those of the files; a module with another is not run.
var mediaTypes = map[string]string{
	".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
	".json": "application/json", ".svg": "image/svg+xml",
}

// New returns the handler.
func New(config Config) (*Handler, error) {
	h := &Handler{next: config.Next, files: make(map[string]file)}
	static := Static()
	err := fs.WalkDir(static, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := fs.ReadFile(static, name)
		if err != nil {
			return err
		}
		h.add("/"+name, content)
		return nil
	})
	if err != nil {
		return nil, err
	}
	h.files["/"] = h.files["/index.html"]
	if config.Trust != nil {
		offered := *config.Trust
		if offered.Roots == nil {
			offered.Roots = []string{} // a list also where it is empty
		}
		b, err := json.Marshal(offered)
		if err != nil {
			return nil, err
		}
		h.add("/trust.json", b)
	}
	return h, nil
}

func (h *Handler) add(name string, content []byte) {
	sum := sha256.Sum256(content)
	mediaType := mediaTypes[path.Ext(name)]
	if mediaType == "" {
		mediaType = mime.TypeByExtension(path.Ext(name))
	}
	var small bytes.Buffer
	z, err := gzip.NewWriterLevel(&small, gzip.BestCompression)
	if err != nil {
		panic(err) // the level is a constant
	}
	z.Write(content) // a buffer takes all
	z.Close()
	h.files[name] = file{content, mediaType, hex.EncodeToString(sum[:16]), small.Bytes()}
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f, found := h.files[r.URL.Path]
	if !found || r.Method != http.MethodGet && r.Method != http.MethodHead {
		if h.next == nil {
			http.NotFound(w, r)
			return
		}
		h.next.ServeHTTP(w, r)
		return
	}
	header := w.Header()
	header.Set("Content-Security-Policy", Policy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	header.Set("Content-Type", f.mediaType)
	header.Set("Vary", "Accept-Encoding")
	// A file keeps its name when a new version of the program has another: who has
	// it asks whether it is still the one, and is answered 304.
	header.Set("Cache-Control", "no-cache")
	if strings.HasSuffix(r.URL.Path, ".json") {
		header.Set("Cache-Control", "no-store")
	}
	content, etag := f.content, f.etag
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") && r.Header.Get("Range") == "" {
		content, etag = f.gzip, etag+"-gzip"
		header.Set("Content-Encoding", "gzip")
	}
	header.Set("ETag", `"`+etag+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
}
