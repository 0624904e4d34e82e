package ledger

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

func sampleSources(t testing.TB) []BundleSource {
	t.Helper()
	leaf := sampleSegment().Marshal()
	return []BundleSource{
		SourceBytes(FolderProofs, []byte("proof"), LeafHash(leaf)),
		SourceBytes(FolderLeaves, leaf, Hash{}),
		SourceBytes(FolderPayloads, []byte("records"), Hash{}),
		SourceBytes(FolderPayloads, bytes.Repeat([]byte("x"), tarBlock), Hash{}),
		SourceBytes(FolderPayloads, nil, Hash{}),
		SourceBytes(FolderAnchors, []byte("checkpoint"), Hash{}),
		SourceBytes(FolderEvidence, []byte("evidence"), Hash{}),
	}
}

func sampleBundle(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := WriteBundle(&b, sampleSources(t)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func open(raw []byte) (*Bundle, error) { return OpenBundle(bytes.NewReader(raw), int64(len(raw))) }

func TestBundleReadsBack(t *testing.T) {
	raw := sampleBundle(t)
	b, err := open(raw)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range sampleSources(t) {
		r, err := s.Open()
		if err != nil {
			t.Fatal(err)
		}
		want, _ := io.ReadAll(r)
		got, found, err := b.Read(s.Folder, s.Hash)
		if err != nil || !found || !bytes.Equal(got, want) {
			t.Errorf("%s: %q, %v, %v; want %q", s.Name(), got, found, err, want)
		}
	}
	if _, found, _ := b.Read(FolderLeaves, Hash{1}); found {
		t.Error("a file that is not there is found")
	}
	// Anyone can unpack it.
	n := 0
	for r := tar.NewReader(bytes.NewReader(raw)); ; n++ {
		if _, err := r.Next(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if want := len(b.Files) + 1; n != want {
		t.Errorf("tar finds %d files, want %d", n, want)
	}
}

// TestBundleEveryByte alters each byte of a bundle, and cuts it at each: all
// are refused, and as damage.
func TestBundleEveryByte(t *testing.T) {
	raw := sampleBundle(t)
	for i := range raw {
		for _, bit := range []byte{1, 0x80} {
			altered := bytes.Clone(raw)
			altered[i] ^= bit
			if _, err := open(altered); err == nil {
				t.Fatalf("byte %d of %d altered: accepted", i, len(raw))
			}
		}
		if _, err := open(raw[:i]); err == nil {
			t.Fatalf("cut at byte %d of %d: accepted", i, len(raw))
		}
	}
	if _, err := open(append(bytes.Clone(raw), make([]byte, tarBlock)...)); err == nil {
		t.Error("a block of zeros after the end: accepted")
	}
}

// TestBundleForged makes the manifest anew over an altered file, as one would
// who wants the alteration to pass.
func TestBundleForged(t *testing.T) {
	sources := sampleSources(t)
	forged := SourceBytes(FolderPayloads, []byte("recordz"), Hash{})
	forged.Hash = sources[2].Hash
	sources[2] = forged
	var b bytes.Buffer
	if err := WriteBundle(&b, sources); err != nil {
		t.Fatal(err)
	}
	var bad *BundleError
	if _, err := open(b.Bytes()); !errors.As(err, &bad) || bad.Code != BundleForged {
		t.Errorf("error %v, want %s", err, BundleForged)
	}
	// A bundle that ends after the forged bytes is damaged too, but later.
	end := bytes.Index(b.Bytes(), []byte("recordz")) + len("recordz") + 1
	if _, err := open(b.Bytes()[:end]); !errors.As(err, &bad) || bad.Code != BundleForged {
		t.Errorf("cut off behind them: error %v, want %s", err, BundleForged)
	}
	damaged := sampleBundle(t)
	damaged[bytes.Index(damaged, []byte("records\x00"))] ^= 1
	if _, err := open(damaged); !errors.As(err, &bad) || bad.Code != BundleDamaged {
		t.Errorf("error %v, want %s", err, BundleDamaged)
	}
}

// TestBundleRepacked: a tar program's own headers are not a bundle's.
func TestBundleRepacked(t *testing.T) {
	var b bytes.Buffer
	in, out := tar.NewReader(bytes.NewReader(sampleBundle(t))), tar.NewWriter(&b)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		h.Uname = "root"
		if err := out.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(out, in); err != nil {
			t.Fatal(err)
		}
	}
	out.Close()
	if _, err := open(b.Bytes()); err == nil || !strings.Contains(err.Error(), "packed again") {
		t.Errorf("error %v, want one that says it was packed again", err)
	}
}

func TestManifestRefused(t *testing.T) {
	good := string(marshalManifest([]File{{FolderLeaves, Hash{1}, 5, Hash{2}}, {FolderLeaves, Hash{2}, 5, Hash{2}}}))
	for _, row := range []struct{ old, new, want string }{
		{"leaves", "..", "no such folder"},
		{"leaves", "Leaves", "no such folder"},
		{" 5 ", " 49153 ", "at most"},
		{"leaves/01", "leaves/03", "out of order"},
		{"leaves/01", "leaves/02", "out of order"},
		{"v1", "v2", "first line"},
	} {
		if _, err := parseManifest([]byte(strings.Replace(good, row.old, row.new, 1))); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%q to %q: %v, want %q", row.old, row.new, err, row.want)
		}
	}
	if _, err := parseManifest([]byte(good)); err != nil {
		t.Fatal(err)
	}
}

func FuzzBundle(f *testing.F) {
	f.Add(sampleBundle(f))
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, err := open(raw)
		if err != nil {
			return
		}
		var sources []BundleSource
		for _, file := range b.Files {
			sources = append(sources, BundleSource{file, func() (io.ReadCloser, error) { return io.NopCloser(b.Open(file.Folder, file.Hash)), nil }})
		}
		var out bytes.Buffer
		if err := WriteBundle(&out, sources); err != nil || !bytes.Equal(out.Bytes(), raw) {
			t.Fatalf("opens, and is written again as something else: %v", err)
		}
	})
}
