package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

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
