package ledger

import (
	"fmt"
	"strings"
)

// ManifestFormat is the first line of a bundle's manifest.
const ManifestFormat = "imaledger/evidence/v1"

// ManifestName is the name of the first file of a bundle.
const ManifestName = "manifest"

// MaxBundleFiles bounds the files of a bundle: some 50,000 segments.
const MaxBundleFiles = 1 << 18

// maxManifest follows from it: a line has at most 170 bytes.
const maxManifest = MaxBundleFiles * 170

// The folders of a bundle. A file's name is its folder and, in hex, the leaf
// hash (leaves, proofs) or the SHA-256 of its bytes (the others).
const (
	FolderAnchors  = "anchors"  // signed checkpoints that segments are anchored to
	FolderEvidence = "evidence" // what stands behind enrolments and appraisals
	FolderLeaves   = "leaves"   // entries of the log
	FolderPayloads = "payloads" // records of segments
	FolderProofs   = "proofs"   // c2sp.org/tlog-proof of the leaf of the same name
)

// A File is a line of the manifest.
type File struct {
	Folder string
	Hash   Hash   // in the name
	Size   uint64 // bytes
	Digest Hash   // SHA-256 of the bytes
}

// Name returns the file's name in the bundle.
func (f File) Name() string { return fmt.Sprintf("%s/%x", f.Folder, f.Hash) }

func marshalManifest(files []File) []byte {
	b := []byte(ManifestFormat + "\n")
	for _, f := range files {
		b = fmt.Appendf(b, "file %s %d %x\n", f.Name(), f.Size, f.Digest)
	}
	return b
}

func parseManifest(b []byte) ([]File, error) {
	r := newTextReader(ManifestFormat, string(b))
	var files []File
	last := ""
	for r.err == nil && r.rest != "" {
		v := r.values("file", 3)
		folder, hash, _ := strings.Cut(v[0], "/")
		f := File{folder, r.parseHash("file name", hash), r.parseNumber("size", v[1]), r.parseHash("digest", v[2])}
		switch {
		case r.err != nil:
		case maxFileSize(folder) == 0:
			r.fail("%.64q: a bundle has no such folder", folder)
		case f.Size > maxFileSize(folder):
			r.fail("%s: %d bytes, at most %d", v[0], f.Size, maxFileSize(folder))
		case v[0] <= last:
			r.fail("%s: out of order, or twice", v[0])
		case len(files) == MaxBundleFiles:
			r.fail("more than %d files", MaxBundleFiles)
		}
		last = v[0]
		files = append(files, f)
	}
	return files, r.end()
}

// maxFileSize bounds a file by its folder, 0 for a folder that is none.
func maxFileSize(folder string) uint64 {
	switch folder {
	case FolderAnchors, FolderProofs:
		return MaxProof
	case FolderEvidence, FolderPayloads:
		return MaxPayload
	case FolderLeaves:
		return MaxStatement
	}
	return 0
}

// MaxProof bounds a proof or a checkpoint in bytes: 63 hashes, and 100
// signatures of which some are post-quantum ones.
const MaxProof = 1 << 20
