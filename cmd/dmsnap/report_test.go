package main

import (
	"image"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/dm"
)

// reported is a page about sets good and bad, one reading through another.
func reported(t *testing.T) string {
	t.Helper()
	hourly := nightly()
	hourly.Name, hourly.State = "hourly", dm.StateActive
	hourly.Volumes = hourly.Volumes[:1]
	hourly.Volumes[0].ReadsThrough, hourly.Volumes[0].Depth = "nightly", 2
	var page strings.Builder
	p := newReport("<db1>", at("2026-11-20T16:00:00Z"), []dm.Set{*nightly(), *hourly, *orphan()}, sampleGraph())
	p.Version = "dmsnap 1"
	if err := writePage(&page, p); err != nil {
		t.Fatal(err)
	}
	return page.String()
}

func TestReport(t *testing.T) {
	page := reported(t)
	sameAsFile(t, "report.html", page)
	for _, never := range []string{"<script", "http:", "https:", "<db1>", "\x1b", "\n/evil", "ZgotmplZ", "url("} {
		if strings.Contains(strings.ReplaceAll(page, "http://www.w3.org/2000/svg", ""), never) {
			t.Errorf("the page has %q", never)
		}
	}
}

// TestReportFile: an old page is replaced by a whole one, or stays.
func TestReportFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "report.html")
	if err := os.WriteFile(file, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, m := range []*stub{{fail: map[string]error{"list ": busy()}}, {fail: map[string]error{"graph ": busy()}}} {
		if o := do(t, m, "report", "--html", file); o.exit != 5 {
			t.Errorf("%s", o)
		}
		if text, err := os.ReadFile(file); err != nil || string(text) != "old" {
			t.Errorf("%q, %v", text, err)
		}
	}
	if o := do(t, &stub{sets: []dm.Set{*nightly()}, graph: sampleGraph()}, "report", "--html", file); o.exit != 0 || o.stdout != file+"\n" {
		t.Errorf("%s", o)
	}
	if text, err := os.ReadFile(file); err != nil || !strings.Contains(string(text), "nightly") {
		t.Errorf("%q, %v", text, err)
	}
	for _, args := range [][]string{{"--html", ""}, {}} {
		if o := do(t, &stub{}, append([]string{"report"}, args...)...); o.exit != 2 {
			t.Errorf("%v: %s", args, o)
		}
	}
	if o := do(t, &stub{graph: &dm.Graph{}}, "report", "--html", filepath.Join(file, "below")); o.exit != 1 {
		t.Errorf("%s", o)
	}
}

// TestReportInBrowser has Chromium draw the page. DMSNAP_SCREENSHOT keeps the picture
// to look at.
func TestReportInBrowser(t *testing.T) {
	browser, err := exec.LookPath("chromium")
	if err != nil || os.Getenv("DMSNAP_E2E") != "" {
		t.Skip("host only: needs Chromium")
	}
	dir := t.TempDir()
	file, shot := filepath.Join(dir, "report.html"), filepath.Join(dir, "report.png")
	if kept := os.Getenv("DMSNAP_SCREENSHOT"); kept != "" {
		shot = kept
	}
	if err := os.WriteFile(file, []byte(reported(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
		"--user-data-dir="+filepath.Join(dir, "profile"), "--window-size=1000,2600", "--screenshot="+shot, "file://"+file).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if colours := coloursOf(t, shot); colours < 20 {
		t.Errorf("the picture has %d colours: nothing is drawn", colours)
	}
}

// coloursOf counts the colours of a picture.
func coloursOf(t *testing.T, file string) int {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var picture image.Image
	if picture, err = png.Decode(f); err != nil {
		t.Fatal(err)
	}
	seen := map[[3]uint32]bool{}
	for y := range picture.Bounds().Dy() {
		for x := range picture.Bounds().Dx() {
			r, g, b, _ := picture.At(x, y).RGBA()
			seen[[3]uint32{r, g, b}] = true
		}
	}
	return len(seen)
}
