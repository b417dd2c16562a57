package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/dmsnap/dmsnap/dm"
)

// profileKey is what may stand before a "=" beside the options of exec and create.
// The manual has the same list.
type profileKey struct {
	name, value, help string
	set               func(p *profile, value string) error
}

func profileKeys() []profileKey {
	return []profileKey{
		{"origin", "ORIGIN", "A mount point or a device, as for dmsnap create, or all for --all. May be repeated: all are of the same instant.", func(p *profile, v string) error {
			if v == "all" {
				p.options = append(p.options, option{key: "all", value: "yes"})
				return nil
			}
			p.Origins = append(p.Origins, v)
			if v[0] != '/' && !strings.Contains(v, "=") {
				return fmt.Errorf("%q is not an origin: write a path, UUID=, LABEL=, PARTUUID= or PARTLABEL=", v)
			}
			return nil
		}},
		{
			"command", "COMMAND", "Run this as dmsnap exec does. Words are parted at blanks; single and double quotes keep them together. " +
				"There is no shell: write sh -c '...' for one. Without a command a set is made, which stays.",
			func(p *profile, v string) error { return setWords(&p.Command, v) },
		},
		{
			"keep", "RULES", "The set stays, also with a command, and after each good run those go that no rule keeps: hourly:24 daily:7 weekly:4 keeps the newest set " +
				"of each of the last 24 hours, 7 days and 4 weeks that have one; also last, monthly and yearly. Such sets are persistent.",
			func(p *profile, v string) (err error) {
				p.Keep, err = dm.ParseKeepRules(v)
				return err
			},
		},
		{"lease", "LEASE", "Remove the set by itself, as for dmsnap create; only without keep and command.", func(p *profile, v string) (err error) {
			p.Lease, err = dm.ParseLease(v)
			return err
		}},
		{"lock", "NAME", "Runs of profiles with the same lock follow each other. Default: the name of the profile.", func(p *profile, v string) error {
			p.Lock = v
			if !profileName.MatchString(v) {
				return errors.New("use up to 40 letters, digits, and . _ -")
			}
			return nil
		}},
		{
			"lock-wait", "DURATION", "How long to wait for the lock. Default: not at all, so that a run fails while another is under way.",
			func(p *profile, v string) error { return setDuration(&p.LockWait, v) },
		},
		{"retries", "N", "Try again up to N times if a run fails. Default: 0.", func(p *profile, v string) (err error) {
			if p.Retries, err = strconv.Atoi(v); err != nil || p.Retries < 0 {
				return fmt.Errorf("%q is not a number", v)
			}
			return nil
		}},
		{
			"retry-after", "DURATION", "How long to wait before that. Default: 1m.",
			func(p *profile, v string) error { return setDuration(&p.RetryAfter, v) },
		},
		{
			"notify", "COMMAND", "Run this after each run, with its result as JSON on standard input.",
			func(p *profile, v string) error { return setWords(&p.Notify, v) },
		},
		{
			"on-failure", "COMMAND", "Run this likewise after a run that was not good.",
			func(p *profile, v string) error { return setWords(&p.OnFailure, v) },
		},
		{"textfile", "PATH", "Write metrics of the run for the textfile collector of node_exporter; the name must end in .prom.", func(p *profile, v string) error {
			p.Textfile = v
			if !strings.HasPrefix(v, "/") || !strings.HasSuffix(v, ".prom") {
				return errors.New("write an absolute path that ends in .prom")
			}
			return nil
		}},
	}
}

func setWords(words *[]string, value string) (err error) {
	*words, err = splitWords(value)
	if err == nil && (len(*words) == 0 || (*words)[0] == "") {
		err = errors.New("no command is named")
	}
	return err
}

func setDuration(d *time.Duration, value string) (err error) {
	if *d, err = dm.ParseDuration(value); err != nil || *d <= 0 {
		return fmt.Errorf("%q is not a duration: write 30s, 5m, 2h or 2d", value)
	}
	return nil
}
