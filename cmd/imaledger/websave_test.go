package main

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// saves presses a button and returns the file that it saves.
func (b *browser) saves(label string) (name string, content []byte) {
	b.t.Helper()
	got := eval[[]string](b, `new Promise((done, failed) => {
		const make = URL.createObjectURL, click = HTMLAnchorElement.prototype.click;
		let blob;
		URL.createObjectURL = (x) => ((blob = x), make.call(URL, x));
		HTMLAnchorElement.prototype.click = function () {
			URL.createObjectURL = make;
			HTMLAnchorElement.prototype.click = click;
			const reader = new FileReader();
			reader.onload = () => done([this.download, reader.result.split(",")[1] ?? ""]);
			reader.readAsDataURL(blob);
		};
		const button = [...document.querySelectorAll("main button")].find((e) => (e.getAttribute("aria-label") ?? e.innerText).includes(`+quoted(label)+`));
		button ? button.click() : failed(new Error("no such button"));
	})`)
	content, err := base64.StdEncoding.DecodeString(got[1])
	if err != nil || len(content) == 0 {
		b.t.Fatalf("%s: %d bytes, %v", label, len(content), err)
	}
	return got[0], content
}

// TestWebSave: what a page has verified can be saved, and the command that it names
// verifies it.
func TestWebSave(t *testing.T) {
	s, b := startSite(t), startBrowser(t)
	b.open(s.url, "#/")
	b.pin(s)
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.CopyFS("trust", os.DirFS(filepath.Join(s.dir, "trust"))); err != nil {
		t.Fatal(err)
	}
	for hash, buttons := range map[string][]string{
		"#/hosts/web1.example":     {"Save all of it"},
		"#/hosts/db1.example/3":    {"Save the evidence"},
		"#/hosts/db1.example/1":    {"Save the evidence"},
		"#/hosts/web1.example/4/7": {"save the sealed proof", "Save the evidence without the records"},
		"#/hosts/db1.example/1/62": {"save the sealed proof", "Save the evidence without the records"},
	} {
		b.open(s.url, hash)
		for _, button := range buttons {
			name, content := b.saves(button)
			if err := os.WriteFile(name, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		command := eval[string](b, `[...document.querySelectorAll("main code")].map((e) => e.innerText).find((x) => x.startsWith("imaledger verify"))`)
		if code, out, talk := tool(t, strings.Fields(command)[1:]...); code != 0 || !strings.Contains(out, "VERIFIED") {
			t.Errorf("%s: %s: %d\n%s%s", hash, command, code, out, talk)
		}
	}
	b.clean(s.url)
}
