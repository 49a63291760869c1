package audit

import (
	"context"
	"time"
)

// Release says that the daemon stops: no decision waits any more, whatever Options.Wait says, and Reconfigure does
// nothing. It comes before the daemon waits for its connections to end.
func (l *Log) Release() {
	l.change.Lock()
	defer l.change.Unlock()
	l.mu.Lock()
	l.state, l.wait = max(l.state, released), false
	l.room.Broadcast()
	l.mu.Unlock()
}

// closeGrace is what the sinks have even if Close has no time left, so that those that work get what they can.
const closeGrace = 200 * time.Millisecond

// Close writes out what is held, pending repeats included, and closes the sinks. What is not written when ctx ends
// is counted as dropped. Records that come later are, too.
//
// What ends, in this order, each step when the one before is done:
//
//  1. No decision waits any more, and no sink is changed (Release).
//  2. The goroutine that sorts brings all that was appended to the sinks, then what is being counted. Later
//     decisions are too late. It does not wait for room in a sink once ctx has ended.
//  3. The sinks write what they hold and close their streams, until ctx ends, and for closeGrace at least.
//  4. Those that are not done are abandoned: what they hold is dropped.
//  5. The watchers are told that nothing follows.
//  6. The last troubles are reported, those of step 4 among them, for closeGrace at most.
func (l *Log) Close(ctx context.Context) {
	l.close.Do(func() {
		l.Release()
		close(l.closing)
		select {
		case <-l.stopped:
		case <-ctx.Done():
			l.sortWaiting(false)
			<-l.stopped
		}
		for _, p := range *l.pumps.Load() {
			p.stop()
		}
		done := make(chan struct{})
		go func() {
			l.pumping.Wait()
			close(done)
		}()
		select {
		case <-done:
		case <-ctx.Done():
			select {
			case <-done:
			case <-time.After(closeGrace):
			}
		}
		l.abort()
		for _, p := range *l.pumps.Load() {
			p.abandon()
		}
		l.ring.end()
		close(l.reportsClosed)
		select { // what was dropped at the end is said, too
		case <-l.reportsDrained:
		case <-time.After(closeGrace):
		}
	})
}
