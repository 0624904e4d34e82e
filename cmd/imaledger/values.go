package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/imaledger/imaledger/cmd/internal/cli"
	"github.com/imaledger/imaledger/tpm/ima"
)

// maxJSON bounds the JSON files, in bytes: all banks and registers have 20 KiB.
const maxJSON = 1 << 20

// readPCRs reads the hint; an empty name is none.
func readPCRs(name string) (ima.Values, error) {
	var file struct {
		PCRs map[string]map[string]string `json:"pcrs"`
	}
	values := make(ima.Values)
	err := readJSON(name, &file)
	if err == nil && name != "" && file.PCRs == nil {
		err = errors.New(`no "pcrs" in it`)
	}
	for bank, pcrs := range file.PCRs {
		for index, value := range pcrs {
			if err == nil {
				err = setValue(values, bank+":"+index, value)
			}
		}
	}
	if err != nil {
		return nil, cli.WithHint(cli.Usagef("--pcrs %s: %w", name, err), `want {"pcrs": {"sha256": {"0": "64 hex digits", ...}, ...}}`)
	}
	return values, nil
}

// readBase reads the base; an empty name is zero throughout.
func readBase(name string) (ima.Values, error) {
	var file map[string]string
	values := make(ima.Values)
	err := readJSON(name, &file)
	if err == nil && name != "" && file == nil {
		err = errors.New("null is no object")
	}
	for slot, value := range file {
		if err == nil {
			err = setValue(values, slot, value)
		}
	}
	if err != nil {
		return nil, cli.WithHint(cli.Usagef("--base %s: %w", name, err), `want {"sha256:10": "64 hex digits", ...}, such as the "end" that inspect and replay print with --json`)
	}
	return values, nil
}

// readJSON reads a small file; an empty name leaves v as it is. Its errors say
// where in the file, and not its name.
func readJSON(name string, v any) error {
	if name == "" {
		return nil
	}
	b, err := readLimited(name, maxJSON)
	if err != nil {
		return err
	}
	err = json.Unmarshal(b, v)
	if err == nil {
		err = namesOnce(b)
	}
	line := func(offset int64) int { return 1 + bytes.Count(b[:min(offset, int64(len(b)))], []byte("\n")) }
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("line %d: no JSON: %w", line(syntax.Offset), err)
	case errors.As(err, &kind):
		return fmt.Errorf("line %d: JSON of another form: a value is of type %s", line(kind.Offset), kind.Value)
	}
	return err
}

// namesOnce refuses JSON that names a member twice: readers differ in which of the
// two they take.
func namesOnce(b []byte) error {
	d := json.NewDecoder(bytes.NewReader(b))
	type object struct {
		seen map[string]bool // nil for an array
		key  bool            // whether a name is next
	}
	var open []object
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		var in *object
		if len(open) > 0 {
			in = &open[len(open)-1]
		}
		if name, ok := token.(string); ok && in != nil && in.key {
			if in.seen[name] {
				return fmt.Errorf("line %d: %.64q stands there twice", 1+bytes.Count(b[:d.InputOffset()], []byte("\n")), name)
			}
			in.seen[name], in.key = true, false
			continue
		}
		if in != nil && in.seen != nil {
			in.key = true
		}
		switch token {
		case json.Delim('{'):
			open = append(open, object{make(map[string]bool), true})
		case json.Delim('['):
			open = append(open, object{})
		case json.Delim('}'), json.Delim(']'):
			open = open[:len(open)-1]
		}
	}
}

func setValue(values ima.Values, slot, value string) error {
	s, err := ima.ParseSlot(slot)
	if err != nil {
		return err
	}
	v, err := hex.DecodeString(value)
	if err != nil || len(v) != s.Bank.Size() {
		return fmt.Errorf("%s is %.140q, want %d hex digits", slot, value, 2*s.Bank.Size())
	}
	values[s] = v
	return nil
}
