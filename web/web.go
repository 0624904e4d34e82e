// Package web has the pages that a ledger shows people, and the verifier that
// they run in the viewer's browser: static/verify is a second implementation of
// ledger/FORMAT.md, in JavaScript, on the same vectors. It loads nothing from
// anywhere else, and is served as it stands here.
package web

import (
	"embed"
	"io/fs"
)

//go:embed static
var files embed.FS

// Static has the files that are served, by their paths below static/.
func Static() fs.FS {
	sub, err := fs.Sub(files, "static")
	if err != nil {
		panic(err) // the name is a constant
	}
	return sub
}
