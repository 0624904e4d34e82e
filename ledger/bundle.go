package ledger

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// A Bundle is evidence in one file: a plain tar that holds a manifest and the
// files it lists, in its order. There is one encoding of a set of files, down
// to the tar headers and the padding, so that no byte goes unchecked; anyone
// can unpack it.
type Bundle struct {
	Files []File
	r     io.ReaderAt
	at    map[string]int64 // offset of each file's bytes
	size  map[string]int64
}

// A BundleError says why a file is no evidence bundle, or no longer one.
type BundleError struct {
	Code Code // BundleDamaged or BundleForged
	File string
	What string
}

func (e *BundleError) Error() string { return fmt.Sprintf("%s: %s", e.File, e.What) }

const tarBlock = 512

// tarHeader returns the one header that a bundle has for a file: USTAR, mode
// 0444, no owner, no time.
func tarHeader(name string, size int64) ([]byte, error) {
	var b bytes.Buffer
	err := tar.NewWriter(&b).WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o444, ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR,
	})
	return b.Bytes(), err
}

// OpenBundle checks the whole form of a bundle: every byte of r is held against
// the manifest, or is one that the form fixes. Memory does not grow with the
// files. What the files say together is for package audit.
func OpenBundle(r io.ReaderAt, size int64) (*Bundle, error) {
	b := &Bundle{r: r, at: make(map[string]int64), size: make(map[string]int64)}
	c := &tarCursor{r: r, size: size}
	manifest, err := c.manifest()
	if err != nil {
		return nil, err
	}
	if b.Files, err = parseManifest(manifest); err != nil {
		return nil, damaged(ManifestName, err.Error())
	}
	for _, f := range b.Files {
		name := f.Name()
		at, err := c.file(name, int64(f.Size))
		if err != nil {
			return nil, err
		}
		b.at[name], b.size[name] = at, int64(f.Size)
		// The padding comes after the bytes: the first fault is the one that is told.
		if err := b.check(f); err != nil {
			return nil, err
		}
		if err := c.padding(name, int64(f.Size)); err != nil {
			return nil, err
		}
	}
	return b, c.end()
}

// check tells damage, bytes that the manifest does not list, from forgery,
// bytes that it lists under a name that is not theirs.
func (b *Bundle) check(f File) error {
	content := b.Open(f.Folder, f.Hash)
	digest := sha256.New()
	if _, err := io.Copy(digest, content); err != nil {
		return damaged(f.Name(), err.Error())
	}
	if Hash(digest.Sum(nil)) != f.Digest {
		return damaged(f.Name(), "its bytes are not those that the manifest lists")
	}
	switch f.Folder {
	case FolderProofs:
		return nil
	case FolderLeaves:
		leaf, err := io.ReadAll(b.Open(f.Folder, f.Hash))
		if err != nil {
			return damaged(f.Name(), err.Error())
		}
		if LeafHash(leaf) == f.Hash {
			return nil
		}
	default:
		if f.Digest == f.Hash {
			return nil
		}
	}
	return &BundleError{BundleForged, f.Name(), "its name is not the hash of its bytes, which the manifest lists: it was altered and the manifest made anew"}
}

func damaged(file, what string) error { return &BundleError{BundleDamaged, file, what} }

// Open returns a file's bytes, nil where the bundle has no such file.
func (b *Bundle) Open(folder string, h Hash) *io.SectionReader {
	name := File{Folder: folder, Hash: h}.Name()
	at, found := b.at[name]
	if !found {
		return nil
	}
	return io.NewSectionReader(b.r, at, b.size[name])
}

// Read returns a file's bytes in memory; found is false where the bundle has no
// such file. It is for all folders but payloads.
func (b *Bundle) Read(folder string, h Hash) (content []byte, found bool, err error) {
	r := b.Open(folder, h)
	if r == nil {
		return nil, false, nil
	}
	content, err = io.ReadAll(r)
	return content, true, err
}

// tarCursor reads a tar front to back and accepts only the canonical one.
type tarCursor struct {
	r        io.ReaderAt
	at, size int64
}

func (c *tarCursor) read(name string, n int64) ([]byte, error) {
	if n > c.size-c.at {
		return nil, damaged(name, fmt.Sprintf("the bundle ends at byte %d, within this file", c.size))
	}
	b := make([]byte, n)
	if _, err := c.r.ReadAt(b, c.at); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	c.at += n
	return b, nil
}

// file steps over a file's header and bytes, and returns where they begin.
func (c *tarCursor) file(name string, size int64) (at int64, err error) {
	got, err := c.read(name, tarBlock)
	if err != nil {
		return 0, err
	}
	want, err := tarHeader(name, size)
	if err != nil {
		return 0, damaged(name, err.Error())
	}
	if !bytes.Equal(got, want) {
		return 0, damaged(name, fmt.Sprintf("the tar header at byte %d is not the one this file has in a bundle (a bundle that was unpacked and packed again is no longer one)", c.at-tarBlock))
	}
	at = c.at
	if size > c.size-c.at {
		return 0, damaged(name, fmt.Sprintf("the bundle ends at byte %d, within this file", c.size))
	}
	c.at += size
	return at, nil
}

// padding steps over what follows the bytes of a file.
func (c *tarCursor) padding(name string, size int64) error {
	return c.zeros(name, -size&(tarBlock-1))
}

func (c *tarCursor) zeros(name string, n int64) error {
	b, err := c.read(name, n)
	if err != nil {
		return err
	}
	if len(bytes.Trim(b, "\x00")) > 0 {
		return damaged(name, fmt.Sprintf("the padding before byte %d is not zero", c.at))
	}
	return nil
}

// manifest reads the first file, whose size only its header tells.
func (c *tarCursor) manifest() ([]byte, error) {
	if c.size < 3*tarBlock {
		return nil, damaged(ManifestName, fmt.Sprintf("the file has %d bytes: this is no evidence bundle", c.size))
	}
	header, err := c.read(ManifestName, tarBlock)
	if err != nil {
		return nil, err
	}
	h, err := tar.NewReader(bytes.NewReader(header)).Next()
	if err != nil || h.Name != ManifestName {
		return nil, damaged(ManifestName, "the first file of the tar is not the manifest: this is no evidence bundle")
	}
	if h.Size > maxManifest {
		return nil, damaged(ManifestName, fmt.Sprintf("%d bytes, at most %d", h.Size, maxManifest))
	}
	c.at = 0
	at, err := c.file(ManifestName, h.Size)
	if err == nil {
		err = c.padding(ManifestName, h.Size)
	}
	if err != nil {
		return nil, err
	}
	b := make([]byte, h.Size)
	if _, err := c.r.ReadAt(b, at); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: %w", ManifestName, err)
	}
	return b, nil
}

// end wants the two zero blocks of a tar's end and nothing after them.
func (c *tarCursor) end() error {
	if c.size-c.at != 2*tarBlock {
		return damaged("end of the tar", fmt.Sprintf("%d bytes follow the last file, want %d", c.size-c.at, 2*tarBlock))
	}
	return c.zeros("end of the tar", 2*tarBlock)
}

// A BundleSource gives WriteBundle one file.
type BundleSource struct {
	File
	Open func() (io.ReadCloser, error)
}

// SourceBytes makes a source of bytes in memory. The file's hash is computed as
// its folder demands; for FolderProofs it is the leaf that is given.
func SourceBytes(folder string, content []byte, leaf Hash) BundleSource {
	f := File{Folder: folder, Size: uint64(len(content)), Digest: sha256.Sum256(content)}
	switch folder {
	case FolderProofs:
		f.Hash = leaf
	case FolderLeaves:
		f.Hash = LeafHash(content)
	default:
		f.Hash = f.Digest
	}
	return BundleSource{f, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }}
}

// WriteBundle writes the bundle of the given files, each once, whatever their
// order. A source whose bytes are not those of its File is an error.
func WriteBundle(w io.Writer, sources []BundleSource) error {
	sources = slices.Clone(sources)
	slices.SortFunc(sources, func(a, b BundleSource) int { return strings.Compare(a.Name(), b.Name()) })
	sources = slices.CompactFunc(sources, func(a, b BundleSource) bool { return a.File == b.File })
	files := make([]File, len(sources))
	for i, s := range sources {
		files[i] = s.File
	}
	manifest := marshalManifest(files)
	if _, err := parseManifest(manifest); err != nil {
		return fmt.Errorf("write bundle: %w", err)
	}
	if err := writeTarFile(w, ManifestName, int64(len(manifest)), bytes.NewReader(manifest)); err != nil {
		return err
	}
	for _, s := range sources {
		if err := writeSource(w, s); err != nil {
			return err
		}
	}
	_, err := w.Write(make([]byte, 2*tarBlock))
	return err
}

func writeSource(w io.Writer, s BundleSource) error {
	r, err := s.Open()
	if err != nil {
		return fmt.Errorf("write bundle: %s: %w", s.Name(), err)
	}
	defer r.Close()
	digest := sha256.New()
	if err := writeTarFile(w, s.Name(), int64(s.Size), io.TeeReader(r, digest)); err != nil {
		return err
	}
	if Hash(digest.Sum(nil)) != s.Digest {
		return fmt.Errorf("write bundle: %s: its bytes are not those that were announced", s.Name())
	}
	return nil
}

func writeTarFile(w io.Writer, name string, size int64, r io.Reader) error {
	header, err := tarHeader(name, size)
	if err != nil {
		return fmt.Errorf("write bundle: %s: %w", name, err)
	}
	if _, err := w.Write(header); err != nil {
		return err
	}
	if n, err := io.Copy(w, r); err != nil || n != size {
		return fmt.Errorf("write bundle: %s: %d of %d bytes: %w", name, n, size, errors.Join(err, io.ErrUnexpectedEOF))
	}
	_, err = w.Write(make([]byte, -size&(tarBlock-1)))
	return err
}
