package appraise

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/imaledger/imaledger/tpm/ima"
)

// Rules of a Keylime runtime policy, by the part of it that decides.
const (
	RuleKeylimeDigests  = "keylime:digests"
	RuleKeylimeExcludes = "keylime:excludes"
	RuleKeylimeKeyrings = "keylime:keyrings"
	RuleKeylimeIgnored  = "keylime:ignored_keyrings"
	RuleKeylimeBuffers  = "keylime:ima-buf"
	RuleKeylimeKeys     = "keylime:verification-keys"
	RuleKeylimeLearned  = "keylime:learned-key" // one that the host loaded, and keyrings lists
)

// A Keylime is a runtime policy of Keylime, version 1 of its JSON. It judges as
// Keylime's verifier does (keylime/ima/ima.py), with these differences, all but the
// last on the strict side: an exclude is a regular expression of RE2's syntax, and its
// classes \w, \d, \s are ASCII's; a digest of fs-verity is never one of a file; a
// signature that says it is EVM's is none over a file; and what Keylime cannot take,
// templates such as ima-ngv2 and records of other registers than PCR 10, is judged by
// its file digest.
//
// It learns the keys that records load into keyrings, so it judges the records of one
// host, in their order.
type Keylime struct {
	digests, keyrings, buffers map[string][]string
	excludes                   *regexp.Regexp // nil for none
	ignored                    []string
	keys, learned              Keyring
}

// ParseKeylime reads a runtime policy.
func ParseKeylime(b []byte) (*Keylime, error) {
	var file struct {
		Payload *string `json:"payload"`
		Meta    *struct {
			Version *int `json:"version"`
		} `json:"meta"`
		Release  *int                `json:"release"`
		Digests  map[string][]string `json:"digests"`
		Excludes *[]string           `json:"excludes"`
		Keyrings map[string][]string `json:"keyrings"`
		IMA      *struct {
			Ignored  []string        `json:"ignored_keyrings"`
			HashAlg  string          `json:"log_hash_alg"`
			DMPolicy json.RawMessage `json:"dm_policy"`
		} `json:"ima"`
		Buffers map[string][]string `json:"ima-buf"`
		Keys    *string             `json:"verification-keys"`
	}
	if err := json.Unmarshal(b, &file); err != nil {
		return nil, describeJSON(b, err)
	}
	if file.Payload != nil {
		return nil, errors.New("it is in a DSSE envelope: verify the envelope's signature, and give what is in it")
	}
	for _, part := range []struct {
		name string
		has  bool
	}{
		{"meta", file.Meta != nil && file.Meta.Version != nil}, {"release", file.Release != nil}, {"digests", file.Digests != nil}, {"excludes", file.Excludes != nil},
		{"keyrings", file.Keyrings != nil}, {"ima", file.IMA != nil}, {"ima-buf", file.Buffers != nil}, {"verification-keys", file.Keys != nil},
	} {
		if !part.has {
			return nil, fmt.Errorf("no %q in it, which a runtime policy of Keylime has: make it anew with keylime-policy create runtime", part.name)
		}
	}
	if *file.Meta.Version != 1 {
		return nil, fmt.Errorf("meta.version is %d, want 1", *file.Meta.Version)
	}
	if dm := string(file.IMA.DMPolicy); dm != "" && dm != "null" {
		return nil, errors.New("ima.dm_policy is not null: rules for device mapper are not judged here, and would be passed over")
	}
	p := &Keylime{digests: file.Digests, keyrings: file.Keyrings, buffers: file.Buffers, ignored: file.IMA.Ignored}
	for name, part := range map[string]map[string][]string{"digests": p.digests, "keyrings": p.keyrings, "ima-buf": p.buffers} {
		if err := checkDigests(name, part); err != nil {
			return nil, err
		}
	}
	var err error
	if p.excludes, err = compileExcludes(*file.Excludes); err != nil {
		return nil, err
	}
	return p, p.addKeys(*file.Keys)
}

// describeJSON says where the JSON is none.
func describeJSON(b []byte, err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	line := func(offset int64) int { return 1 + bytes.Count(b[:min(offset, int64(len(b)))], []byte("\n")) }
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("line %d: no JSON: %w", line(syntax.Offset), err)
	case errors.As(err, &kind):
		return fmt.Errorf("line %d: %s is of type %s, want another", line(kind.Offset), kind.Field, kind.Value)
	}
	return err
}

func checkDigests(part string, m map[string][]string) error {
	for name, list := range m {
		if len(list) == 0 {
			return fmt.Errorf("%s: %.80q has no digest", part, name)
		}
		for _, d := range list {
			if len(d) < 2*sha1.Size || len(d) > 2*sha512.Size || strings.Trim(d, "0123456789abcdef") != "" {
				return fmt.Errorf("%s: %.80q: %.80q is no digest: want 40 to 128 lower-case hex digits", part, name, d)
			}
		}
	}
	return nil
}

// compileExcludes joins the expressions as Keylime does. Python matches at the
// begin, and not to the end.
func compileExcludes(list []string) (*regexp.Regexp, error) {
	if len(list) == 0 {
		return nil, nil
	}
	for _, e := range list {
		if _, err := regexp.Compile(e); err != nil {
			return nil, fmt.Errorf("excludes: %.80q: %w: what Python has and RE2 has not, such as (?!…), must be written in another way", e, err)
		}
		if strings.Contains(e, "[[:") {
			return nil, fmt.Errorf("excludes: %.80q: [[:…:]] is a class here, and in Python a set of its letters: write it in another way", e)
		}
	}
	return regexp.Compile("^(?:(" + strings.Join(list, ")|(") + "))")
}

// addKeys reads verification-keys: JSON in a string, with keys in DER.
func (p *Keylime) addKeys(text string) error {
	if text == "" {
		return nil
	}
	var ring struct {
		IDs  []uint32 `json:"keyids"`
		Keys []string `json:"pubkeys"`
	}
	if err := json.Unmarshal([]byte(text), &ring); err != nil {
		return fmt.Errorf("verification-keys: %w", err)
	}
	for i, k := range ring.Keys {
		der, err := base64.StdEncoding.DecodeString(k)
		if err != nil {
			return fmt.Errorf("verification-keys: pubkeys[%d]: %w", i, err)
		}
		public, ids, _, err := parseKey(der)
		if err == nil && public == nil {
			err = errors.New("no public key")
		}
		if err != nil {
			return fmt.Errorf("verification-keys: pubkeys[%d]: %w", i, err)
		}
		id := ids[len(ids)-1]
		if i < len(ring.IDs) && ring.IDs[i] != 0 {
			id = ring.IDs[i]
		}
		p.keys.add(id, public, "a verification key of the policy")
	}
	return nil
}

// Judge implements Policy.
func (p *Keylime) Judge(_ *ima.Record, f *ima.Fields) Judgement {
	if f.HasBuf {
		return p.judgeBuffer(f)
	}
	if len(f.Sig) > 0 && !p.excluded(f.Path) {
		for _, ring := range []struct {
			rule string
			keys *Keyring
		}{{RuleKeylimeKeys, &p.keys}, {RuleKeylimeLearned, &p.learned}} {
			if j := ring.keys.Judge(nil, f); j.Verdict == Passed && f.Sig[1] == 2 { // Keylime knows no version 3
				j.Rule = ring.rule
				return j
			}
		}
	}
	return p.judgeDigest(RuleKeylimeDigests, p.digests, f)
}

// Fresh implements Learner.
func (p *Keylime) Fresh() Policy {
	c := *p
	c.learned = Keyring{}
	return &c
}

func (p *Keylime) excluded(path []byte) bool { return p.excludes != nil && p.excludes.Match(path) }

func (p *Keylime) judgeDigest(rule string, part map[string][]string, f *ima.Fields) Judgement {
	if p.excluded(f.Path) {
		return Judgement{Verdict: Passed, Rule: RuleKeylimeExcludes, Detail: "the path is excluded"}
	}
	list, found := part[string(f.Path)]
	if !found {
		return Judgement{Verdict: Failed, Rule: rule, Detail: ima.Printable(f.Path) + " is not in the policy"}
	}
	digest := hex.EncodeToString(f.Digest.Digest)
	if f.Digest.Type == "verity" || !slices.Contains(list, digest) {
		return Judgement{Verdict: Failed, Rule: rule, Detail: fmt.Sprintf("%s has %s, which is not in the policy", ima.Printable(f.Path), ima.Printable([]byte(f.Digest.String())))}
	}
	return Judgement{Verdict: Passed, Rule: rule, Detail: "path and digest are in the policy", Weak: weak(f.Digest.Algorithm)}
}

// judgeBuffer: a buffer that is a key was loaded into the keyring of the record's
// name. One that the policy lists vouches for files from then on.
func (p *Keylime) judgeBuffer(f *ima.Fields) Judgement {
	der := f.Buf
	public, ids, _, err := parseKey(der)
	if err != nil {
		return Judgement{Verdict: Failed, Rule: RuleKeylimeKeyrings, Detail: fmt.Sprintf("keyring %s: %v", ima.Printable(f.Path), err)}
	}
	if public == nil {
		return p.judgeDigest(RuleKeylimeBuffers, p.buffers, f)
	}
	if slices.Contains(p.ignored, "*") || slices.Contains(p.ignored, string(f.Path)) {
		return Judgement{Verdict: Passed, Rule: RuleKeylimeIgnored, Detail: "the keyring is ignored"}
	}
	j := p.judgeDigest(RuleKeylimeKeyrings, p.keyrings, f)
	if j.Verdict == Passed {
		p.learned.add(ids[0], public, "a key that the host loaded into keyring "+ima.Printable(f.Path))
	}
	return j
}
