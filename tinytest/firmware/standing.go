package firmware

import (
	"context"
	"time"
)

// again is for how long a device whose daemon has ended asks once more before it ends a WebSocket, and how often.
const (
	again      = 10 * time.Second
	againEvery = 100 * time.Millisecond
)

// standing is the question of a WebSocket that stays open, with the answer.
type standing struct {
	device *Device
	lines  []string
	asker  *Asker // on whose connection it stands; nil if it does not stand
	reply  Reply
	err    error
}

// stand asks for a WebSocket. Of one that stays open the question is left standing (watch-token), if the daemon has
// room for one more; if not, the socket ends when the answer says (ANS-8).
func (d *Device) stand(lines []string, stays bool) *standing {
	s := &standing{device: d, lines: lines}
	if stays {
		s.lines = append([]string{"watch-token 1"}, lines[1:]...)
		s.asker = NewAsker(d.opt.Socket, d.opt.Timeout)
		if s.reply, s.err = d.questionBy(s.asker, s.lines); s.err != nil || s.reply.Reason != "watch-limit" {
			return s
		}
		s.close()
		s.asker = nil
	}
	s.reply, s.err = d.question(lines)
	return s
}

// close ends the question.
func (s *standing) close() {
	if s.asker != nil {
		s.asker.Close()
	}
}

// wait calls end when the answer has turned. If the daemon ends first, it asks the next one.
func (s *standing) wait(ctx context.Context, end context.CancelFunc) {
	asker := s.asker
	stop := context.AfterFunc(ctx, func() { asker.Close() })
	defer stop()
	defer end()
	for {
		reply, err := asker.Turned()
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			s.device.logf("WebSocket: %s %d %s", reply.Verdict, reply.Status, reply.Reason)
			return
		}
		for late := time.Now().Add(again); ; {
			reply, err = s.device.questionBy(asker, s.lines)
			if err == nil || ctx.Err() != nil || time.Now().After(late) {
				break
			}
			select {
			case <-ctx.Done():
			case <-time.After(againEvery):
			}
		}
		if err != nil || !reply.Allowed() {
			s.device.logf("WebSocket: the daemon has ended, and the next one does not allow it: %v %v",
				reply.Reason, err)
			return
		}
	}
}
