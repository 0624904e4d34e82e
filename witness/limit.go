package witness

import (
	"fmt"
	"math"
	"time"

	"golang.org/x/time/rate"
)

// limits are what a log may ask for: its requests a day, spread over the day with
// room for an hour's at once.
//
// Trees that grow are counted apart from everything else. Anyone can send a log's
// published checkpoint again, and must not be able to use up what the log needs
// to have its next one cosigned.
type limits struct {
	qpd    int // requests a day; 0 for no limit
	growth *rate.Limiter
	others *rate.Limiter
}

// minBurst is how many requests a log may send at once however few it has a day:
// a few to learn what was cosigned last and to try again.
const minBurst = 16

func newLimits(qpd int) *limits {
	l := &limits{qpd: qpd}
	if qpd > 0 {
		every, burst := rate.Limit(float64(qpd)/(24*time.Hour).Seconds()), max(qpd/24, minBurst)
		l.growth, l.others = rate.NewLimiter(every, burst), rate.NewLimiter(every, burst)
	}
	return l
}

// limitError is a request beyond what its log may ask for.
type limitError struct {
	qpd   int
	after time.Duration // when one more is allowed
}

func (e *limitError) Error() string {
	return fmt.Sprintf("more than the %d requests a day of this log; one more is allowed in %v", e.qpd, e.after.Round(time.Second))
}

// retryAfter gives whole seconds, at least one.
func (e *limitError) retryAfter() int { return int(math.Ceil(max(e.after.Seconds(), 1))) }

// take counts a request, and refuses one too many.
func (l *limits) take(grows bool, now time.Time) error {
	if l == nil || l.qpd == 0 {
		return nil
	}
	limiter := l.others
	if grows {
		limiter = l.growth
	}
	r := limiter.ReserveN(now, 1)
	if wait := r.DelayFrom(now); wait > 0 {
		r.CancelAt(now)
		return &limitError{l.qpd, wait}
	}
	return nil
}
