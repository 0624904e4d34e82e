package main

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/imaledger/imaledger/ledger"
	"github.com/imaledger/imaledger/ledger/appraise"
	"github.com/imaledger/imaledger/ledger/audit"
	"github.com/imaledger/imaledger/ledger/client"
	"github.com/imaledger/imaledger/ledger/export"
	"github.com/imaledger/imaledger/ledger/monitor"
	"github.com/imaledger/imaledger/ledger/search"
)

// jsonKeys are the keys of a struct as JSON, those of embedded structs among them, each
// with the kind of its value.
func jsonKeys(t reflect.Type) map[string]string {
	keys := make(map[string]string)
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			for k, v := range jsonKeys(f.Type) {
				keys[k] = v
			}
		case name != "" && name != "-":
			keys[name] = kindOf(f.Type)
		}
	}
	return keys
}

func kindOf(t reflect.Type) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "boolean"
	case reflect.Map:
		return "object"
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return "string" // base64
		}
		return "list"
	case reflect.Struct:
		return "" // named in the page
	}
	return "number"
}

// TestJSONPage: the page has each key of what is printed, with its type, and no other.
func TestJSONPage(t *testing.T) {
	b, err := os.ReadFile("JSON.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("(?m)^\\| `([^`]+)` \\| ([^|]+) \\|")
	sections := make(map[string]map[string]string)
	for section := range strings.SplitSeq(string(b), "\n## ") {
		name, text, _ := strings.Cut(section, "\n")
		keys := make(map[string]string)
		for _, m := range row.FindAllStringSubmatch(text, -1) {
			keys[m[1]] = m[2]
		}
		if len(keys) > 0 {
			sections[name] = keys
		}
	}
	type verdict struct {
		Verdict string `json:"verdict"`
	}
	printed := map[string]map[string]string{
		"finding": jsonKeys(reflect.TypeFor[ledger.Finding]()), "bundle": jsonKeys(reflect.TypeFor[bundleJSON]()), "segment": jsonKeys(reflect.TypeFor[audit.Segment]()),
		"erased": jsonKeys(reflect.TypeFor[audit.ErasedSegment]()), "succession": jsonKeys(reflect.TypeFor[audit.Succession]()), "record": jsonKeys(reflect.TypeFor[recordReport]()),
		"audit": jsonKeys(reflect.TypeFor[monitor.Report]()), "resumed": jsonKeys(reflect.TypeFor[monitor.Resumed]()), "host": jsonKeys(reflect.TypeFor[monitor.Host]()), "enrolment": jsonKeys(reflect.TypeFor[enrolmentJSON]()),
		"alert": jsonKeys(reflect.TypeFor[alert]()), "checkup": jsonKeys(reflect.TypeFor[checkup]()), "replay": jsonKeys(reflect.TypeFor[replayReport]()),
		"counters": jsonKeys(reflect.TypeFor[replayCounters]()), "list": jsonKeys(reflect.TypeFor[inspectReport]()), "item": jsonKeys(reflect.TypeFor[inspectRecord]()),
		"proof": jsonKeys(reflect.TypeFor[provenEntry]()), "cosignature": jsonKeys(reflect.TypeFor[entryCosignature]()), "statement": jsonKeys(reflect.TypeFor[stated]()),
		"appraisal": jsonKeys(reflect.TypeFor[appraisalReport]()), "appraised evidence": jsonKeys(reflect.TypeFor[appraisedEvidence]()), "policy": jsonKeys(reflect.TypeFor[appraisalPolicy]()),
		"policy file": jsonKeys(reflect.TypeFor[policyFile]()), "rule": jsonKeys(reflect.TypeFor[appraise.RuleCount]()), "appraised record": jsonKeys(reflect.TypeFor[appraisedRecord]()),
		"import": jsonKeys(reflect.TypeFor[importReport]()), "cut": jsonKeys(reflect.TypeFor[importedCut]()), "line": jsonKeys(reflect.TypeFor[export.Line]()),
		"verification": jsonKeys(reflect.TypeFor[export.Verification]()),
		"search":       jsonKeys(reflect.TypeFor[searchJSON]()), "hit": jsonKeys(reflect.TypeFor[search.Hit]()), "limits": jsonKeys(reflect.TypeFor[client.SearchLimits]()),
		"limit": jsonKeys(reflect.TypeFor[client.SearchLimit]()), "hosts-with": jsonKeys(reflect.TypeFor[hostsWithJSON]()), "host with": jsonKeys(reflect.TypeFor[hostWith]()),
		"first-seen": jsonKeys(reflect.TypeFor[firstSeenJSON]()), "index": jsonKeys(reflect.TypeFor[indexJSON]()), "timeline": jsonKeys(reflect.TypeFor[timelineJSON]()),
		"diff": jsonKeys(reflect.TypeFor[diffReport]()), "side": jsonKeys(reflect.TypeFor[diffSide]()), "file": jsonKeys(reflect.TypeFor[diffFile]()),
	}
	printed["audit"]["verdict"] = jsonKeys(reflect.TypeFor[verdict]())["verdict"]
	for name, keys := range printed {
		for key, kind := range keys {
			of, has := sections[name][key]
			_, isSection := sections[of]
			if !has || !strings.HasPrefix(of, kind) || kind == "" && !isSection {
				t.Errorf("%s: %s is %q on the page, printed as %q", name, key, of, kind)
			}
			if item, is := strings.CutPrefix(of, "list of "); is && item != "strings" && item != "numbers" && sections[item] == nil {
				t.Errorf("%s: %s is a list of %s, which has no section", name, key, item)
			}
		}
		for key := range sections[name] {
			if _, has := keys[key]; !has {
				t.Errorf("%s: the page has %s, which is not printed", name, key)
			}
		}
	}
	for name := range sections {
		if _, has := printed[name]; !has {
			t.Errorf("the section %s is held to nothing", name)
		}
	}
	if len(sections) < 15 {
		t.Errorf("only %d sections", len(sections))
	}
}
