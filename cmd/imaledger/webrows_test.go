package main

import (
	"strings"
	"testing"
)

// TestWebRows: a list of 10^6 rows has only those in sight in the document, reaches its
// first, its last and each between by keys and by scrolling, and shows rows in their order.
func TestWebRows(t *testing.T) {
	s, b := startSite(t), startBrowser(t)
	b.open(s.url, "#/verify")
	eval[int](b, `import("/rows.js").then(({VirtualList}) => {
		globalThis.list = new VirtualList({label: "rows", columns: [["n", "n"], ["name", "name"]],
			load: async (from, count) => Array.from({length: count}, (_, i) => ({i: from + i})),
			render: (r) => ({href: "#/row/" + r.i, class: "", cells: [String(r.i), "row " + r.i]})});
		document.querySelector("main").replaceChildren(list.element);
		list.reset(1000000);
		return 0;
	})`)
	rows := func() (numbers []int) {
		t.Helper()
		b.until(`document.querySelectorAll(".vrows .vrow").length > 5 && !document.querySelector(".vrow.waiting")`)
		numbers = eval[[]int](b, `(() => { const box = list.element.getBoundingClientRect(); return [...document.querySelectorAll(".vrows .vrow")].filter((r) => { const a = r.getBoundingClientRect(); return a.bottom > box.top + 24 && a.top < box.bottom; }).map((r) => Number(r.querySelector(".n").innerText)); })()`)
		for i := range numbers {
			if numbers[i] != numbers[0]+i {
				t.Errorf("rows out of order: %v", numbers)
			}
		}
		if n := b.count(".vrow"); n > 60 {
			t.Errorf("%d rows in the document", n)
		}
		return numbers
	}
	if got := rows(); got[0] != 0 {
		t.Errorf("it begins with %v", got)
	}
	eval[int](b, `list.element.focus(); 0`)
	b.press("End")
	if got := rows(); got[len(got)-1] != 999_999 {
		t.Errorf("it ends with %v", got)
	}
	b.press("PageDown")
	b.press("Home")
	for range 3 {
		b.press("PageDown")
	}
	b.press("ArrowDown")
	at := eval[int](b, `Number(document.querySelector(".vrow.active .n").innerText)`)
	if got := rows(); at < 20 || at > 120 || at < got[0] || at > got[len(got)-1] {
		t.Errorf("after three pages and a row: %d of %v", at, got)
	}
	if id := eval[string](b, `document.getElementById(list.element.getAttribute("aria-activedescendant")).querySelector(".n").innerText`); strings.TrimSpace(id) == "" {
		t.Error("who listens is not told the row")
	}
	for _, part := range []float64{0.25, 0.5, 0.999} {
		eval[int](b, `list.element.scrollTop = `+strings.TrimSpace(quotedNumber(part))+` * (list.element.scrollHeight - list.element.clientHeight); 0`)
		b.until(`Math.abs(Number(document.querySelector(".vrows .vrow .n")?.innerText) - ` + quotedNumber(part*1_000_000) + `) < 300`)
		rows()
	}
	b.clean(s.url)
}
