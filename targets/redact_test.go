package targets_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/dmsnap/dmsnap/targets"
)

const secret = "00112233445566778899aAbBcCdDeEfF00112233445566778899aabbccddeeff"

func TestRedacted(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"0 8 crypt aes-xts-plain64 " + secret + " 0 8:1 4096", "0 8 crypt aes-xts-plain64 <key> 0 8:1 4096"},
		{"0 8 crypt aes 0011 0 /dev/my\\ disk 0", "0 8 crypt aes <key> 0 /dev/my\\ disk 0"},
		{"0 8 crypt aes :32:logon:cryptsetup:x 0 8:1 0", "0 8 crypt aes <key> 0 8:1 0"},
		{
			"0 8 integrity 8:1 0 32 J 3 internal_hash:hmac(sha256):" + secret + " journal_mac:hmac(sha256):00 meta_device:8:2",
			"0 8 integrity 8:1 0 32 J 3 internal_hash:hmac(sha256):<key> journal_mac:hmac(sha256):<key> meta_device:8:2",
		},
		{"0 8 integrity 8:1 0 4 J 1 internal_hash:crc32c", "0 8 integrity 8:1 0 4 J 1 internal_hash:crc32c"},
		{"0 8 newcrypt x:" + secret + " 8:1", "0 8 newcrypt x:<key> 8:1"},
		{"0 8 newcrypt 0011 8:1", "0 8 newcrypt 0011 8:1"},
		{"0 8 verity 1 8:1 8:2 4096 4096 1 1 sha256 " + secret + " -", "0 8 verity 1 8:1 8:2 4096 4096 1 1 sha256 " + secret + " -"},
		{"0 8 linear 8:1 0", "0 8 linear 8:1 0"},
	} {
		table, err := targets.ParseTable(c.in)
		if err != nil {
			t.Fatal(err)
		}
		if got := table.Redacted().String(); got != c.want {
			t.Errorf("got  %q\nwant %q", got, c.want)
		}
		if got := table.String(); got != c.in {
			t.Errorf("the table itself changed: %q", got)
		}
	}
}

func TestLogsHoldNoKeys(t *testing.T) {
	table, err := targets.ParseTable("0 8 crypt aes-xts-plain64 " + secret + " 0 8:1 4096")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	slog.New(slog.NewTextHandler(&out, nil)).Info("load", "table", table)
	if strings.Contains(out.String(), secret) || !strings.Contains(out.String(), "8:1 4096") {
		t.Errorf("logged %s", out.String())
	}
}
