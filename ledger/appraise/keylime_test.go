package appraise

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"maps"
	"strings"
	"testing"
)

// emptyPolicy has every part that Keylime demands (its RUNTIME_POLICY_SCHEMA).
func emptyPolicy() map[string]any {
	return map[string]any{
		"meta": map[string]any{"version": 1, "generator": 0}, "release": 0, "digests": map[string]any{}, "excludes": []string{},
		"keyrings": map[string]any{}, "ima": map[string]any{"ignored_keyrings": []string{}, "log_hash_alg": "sha1", "dm_policy": nil},
		"ima-buf": map[string]any{}, "verification-keys": "",
	}
}

func keylime(t testing.TB, change map[string]any) (*Keylime, error) {
	t.Helper()
	file := emptyPolicy()
	maps.Copy(file, change)
	for name, v := range change {
		if v == nil {
			delete(file, name)
		}
	}
	b, err := json.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	return ParseKeylime(b)
}

func mustKeylime(t testing.TB, change map[string]any) *Keylime {
	t.Helper()
	p, err := keylime(t, change)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestKeylimeDigests: a path with one of its digests passes, as do paths that match
// an exclude at their begin; all else fails.
func TestKeylimeDigests(t *testing.T) {
	ones := strings.Repeat("01", 32)
	p := mustKeylime(t, map[string]any{
		"digests": map[string]any{"/bin/a": []string{ones, zeros}, "/bin/b": []string{ones}, "boot_aggregate": []string{zeros}},
		// Keylime's issue tracker: an exclude of a folder must not need .* at its end.
		"excludes": []string{"/tmp/", `/var/log/.*\.log$`, "(?:/run/[0-9]+)"},
	})
	for _, c := range []struct {
		path    string
		verdict Verdict
		rule    string
	}{
		{"/bin/a", Passed, RuleKeylimeDigests},
		{"/bin/b", Failed, RuleKeylimeDigests},
		{"/bin/c", Failed, RuleKeylimeDigests},
		{"boot_aggregate", Passed, RuleKeylimeDigests},
		{"/tmp/x", Passed, RuleKeylimeExcludes},
		{"/x/tmp/x", Failed, RuleKeylimeDigests},
		{"/var/log/a.log", Passed, RuleKeylimeExcludes},
		{"/var/log/a.log.gz", Failed, RuleKeylimeDigests},
		{"/run/12x", Passed, RuleKeylimeExcludes},
		{"/run/x", Failed, RuleKeylimeDigests},
		{"/bin/a\n", Failed, RuleKeylimeDigests},
		{"", Failed, RuleKeylimeDigests},
	} {
		wantJudgement(t, c.path, judge(t, p, measured{path: c.path}), c.verdict, c.rule)
	}
	// The digest of a tree is not that of a file.
	m := measured{template: "ima-ngv2", path: "/bin/a", algorithm: "ima:sha256"}
	wantJudgement(t, "ima-ngv2", judge(t, p, m), Passed, RuleKeylimeDigests)
	// Keylime refuses what is not of PCR 10, which it cannot replay.
	wantJudgement(t, "another register", judge(t, p, measured{path: "/bin/a", pcr: 11}), Passed, RuleKeylimeDigests)
	m.algorithm = "verity:sha256"
	wantJudgement(t, "fs-verity", judge(t, p, m), Failed, RuleKeylimeDigests)
}

// TestKeylimeBuffers: buffers are looked up in ima-buf, keys in keyrings, and a key
// that keyrings lists vouches for the files after it.
func TestKeylimeBuffers(t *testing.T) {
	s := newSigner(t, "vendor", "rsa:2048")
	block, _ := pem.Decode(s.read(t, s.certificate))
	digest := sha256.Sum256(block.Bytes)
	key := measured{path: ".ima", digest: digest[:], buf: block.Bytes}
	p := mustKeylime(t, map[string]any{
		"keyrings": map[string]any{".ima": []string{hex.EncodeToString(digest[:])}},
		"ima-buf":  map[string]any{"kernel_version": []string{zeros}},
		"ima":      map[string]any{"ignored_keyrings": []string{".builtin"}, "log_hash_alg": "sha1", "dm_policy": nil},
	})
	content := []byte("what runs")
	sum := sha256.Sum256(content)
	file := measured{path: "/bin/a", digest: sum[:], sig: s.sign(t, content, "sha256")}
	wantJudgement(t, "a file before its key", judge(t, p, file), Failed, RuleKeylimeDigests)
	wantJudgement(t, "a buffer", judge(t, p, measured{path: "kernel_version", buf: []byte("7.3")}), Passed, RuleKeylimeBuffers)
	wantJudgement(t, "another buffer", judge(t, p, measured{path: "kernel_version", digest: sum[:], buf: []byte("7.4")}), Failed, RuleKeylimeBuffers)
	other := key
	other.path = ".evm"
	wantJudgement(t, "a key in another keyring", judge(t, p, other), Failed, RuleKeylimeKeyrings)
	wantJudgement(t, "a file of a key that is not listed", judge(t, p, file), Failed, RuleKeylimeDigests)
	ignored := key
	ignored.path = ".builtin"
	wantJudgement(t, "a key in an ignored keyring", judge(t, p, ignored), Passed, RuleKeylimeIgnored)
	wantJudgement(t, "a file of an ignored key", judge(t, p, file), Failed, RuleKeylimeDigests)
	wantJudgement(t, "the key", judge(t, p, key), Passed, RuleKeylimeKeyrings)
	wantJudgement(t, "a file after its key", judge(t, p, file), Passed, RuleKeylimeLearned)
	fresh := (&Appraiser{Policies: []Policy{p}}).Fresh()
	wantJudgement(t, "a file of another boot", fresh.Judge(file.record(t)), Failed, RuleKeylimeDigests)
	wantJudgement(t, "and of this one still", judge(t, p, file), Passed, RuleKeylimeLearned)
	file.digest = digest[:]
	wantJudgement(t, "another file with that signature", judge(t, p, file), Failed, RuleKeylimeDigests)
}

// TestKeylimeKeys: verification-keys vouch for files, with and without key IDs.
func TestKeylimeKeys(t *testing.T) {
	s := newSigner(t, "vendor", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
	block, _ := pem.Decode([]byte(command(t, s.dir, "", "openssl", "x509", "-in", s.certificate, "-noout", "-pubkey")))
	content := []byte("what runs")
	sum := sha256.Sum256(content)
	file := measured{path: "/bin/a", digest: sum[:], sig: s.sign(t, content, "sha256")}
	for _, ids := range []string{"[]", "[null]", "[0]"} {
		keys := `{"keyids":` + ids + `,"pubkeys":["` + base64.StdEncoding.EncodeToString(block.Bytes) + `"]}`
		p := mustKeylime(t, map[string]any{"verification-keys": keys})
		wantJudgement(t, "keyids "+ids, judge(t, p, file), Passed, RuleKeylimeKeys)
	}
	keys := `{"keyids":[1],"pubkeys":["` + base64.StdEncoding.EncodeToString(block.Bytes) + `"]}`
	wantJudgement(t, "another ID", judge(t, mustKeylime(t, map[string]any{"verification-keys": keys}), file), Failed, RuleKeylimeDigests)
}

// TestKeylimeRefused: a policy that would be judged otherwise than Keylime does is
// refused, and says where.
func TestKeylimeRefused(t *testing.T) {
	for want, change := range map[string]map[string]any{
		`no "digests" in it`:     {"digests": nil},
		`no "ima" in it`:         {"ima": nil},
		"DSSE envelope":          {"payload": "e30="},
		"meta.version is 2":      {"meta": map[string]any{"version": 2}},
		"ima.dm_policy":          {"ima": map[string]any{"dm_policy": map[string]any{"version": 1}}},
		`"/a" has no digest`:     {"digests": map[string]any{"/a": []string{}}},
		"is no digest":           {"keyrings": map[string]any{"/a": []string{"ABCD"}}},
		"excludes: \"(?!a)\"":    {"excludes": []string{"(?!a)"}},
		"excludes: \"(\"":        {"excludes": []string{"("}},
		"excludes: \"a)|(.*\"":   {"excludes": []string{"a)|(.*"}},
		"excludes: \"[[:alpha:]": {"excludes": []string{"[[:alpha:]]"}},
		"verification-keys: ":    {"verification-keys": "nonsense"},
		"pubkeys[0]: no public":  {"verification-keys": `{"keyids":[],"pubkeys":["AAAA"]}`},
		"pubkeys[0]: illegal":    {"verification-keys": `{"keyids":[],"pubkeys":["?"]}`},
		"line 1: digests is of":  {"digests": "x"},
	} {
		if _, err := keylime(t, change); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if _, err := ParseKeylime([]byte("{\n\n,")); err == nil || !strings.Contains(err.Error(), "line 3") {
		t.Errorf("%v", err)
	}
}
