package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"nmosauthd/tinytest/controller"
	"nmosauthd/tinytest/firmware"
	"nmosauthd/tinytest/studio"
)

// seat is somebody with a control socket open.
type seat struct {
	who         string
	desk        *controller.Desk
	meter, gain int // of microphone 1, by the device's numbers
}

// sit signs somebody in and opens the control socket of the stage box.
func (s *stage) sit(ctx context.Context, who, name string, person controller.Person) (*seat, error) {
	panel := s.Controller(name, person)
	if err := s.signIn(ctx, who, panel, "query control"); err != nil {
		return nil, err
	}
	devices, err := panel.Query(ctx, "devices")
	if err != nil {
		return nil, err
	}
	device, err := pick(devices, firmware.DeviceID)
	if err != nil {
		return nil, err
	}
	at := &seat{who: who}
	if at.desk, err = panel.Control(ctx, device); err == nil {
		at.meter, err = at.desk.Find("meters", "mic-1")
	}
	if err == nil {
		at.gain, err = at.desk.Find("mic-1", "gain")
	}
	return at, err
}

// gains has Mona watch a meter and a gain, which she may not turn, and Sven may.
func (s *stage) gains(ctx context.Context, _ *cast) (err error) {
	say("Gains and level meters are objects of the stage box, which panels control over one WebSocket (IS-12). Its " +
		"firmware asks about every command on it. Mona's claim says read root.*; Sven's has write root.mic-1.gain, " +
		"too.")
	mona, err := s.sit(ctx, "Mona", "Meter bridge", studio.Mona)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, mona.desk.Close()) }()
	accepted, err := mona.desk.Subscribe(mona.meter, mona.gain)
	if err != nil || len(accepted) != 2 {
		return fmt.Errorf("subscriptions to the meter and the gain of mic 1: accepted %v, want both: %v", accepted, err)
	}
	for _, level := range []float64{-30, -24, -18} {
		s.Device.SetLevel(level)
		if err := mona.sees(mona.meter, level); err != nil {
			return err
		}
	}
	did("Mona", "watches the meter of mic 1: -30, -24, -18 dBFS", "allowed")
	const louder = 12
	err = mona.desk.Turn(mona.gain, louder)
	if status, _ := controller.Refused(err); status != http.StatusUnauthorized {
		return fmt.Errorf("%s turns the gain of mic 1: got %v, want 401", mona.who, err)
	}
	did("Mona", "turns the gain of mic 1 up to 12 dB", "401 for that command")
	gain, err := mona.desk.Read(mona.gain)
	if err != nil || gain != 0 {
		return fmt.Errorf("%s reads the gain of mic 1: got %v dB, %v, want 0 dB", mona.who, gain, err)
	}
	did("Mona", "reads it by the same socket: still 0 dB", "allowed")

	sven, err := s.sit(ctx, "Sven", "Gain panel", studio.Sven)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sven.desk.Close()) }()
	if err := sven.desk.Turn(sven.gain, louder); err != nil {
		return err
	}
	did("Sven", "turns the gain of mic 1 up to 12 dB", "allowed")
	if err := mona.sees(mona.gain, louder); err != nil {
		return err
	}
	did("Mona", "sees the gain of mic 1 change: 12 dB", "allowed")
	return nil
}

// sees waits for what the device tells next.
func (at *seat) sees(want int, dB float64) error {
	oid, got, err := at.desk.Next()
	if err == nil && (oid != want || got != dB) {
		err = fmt.Errorf("%s sees %v dB of object %d, want %v dB of %d", at.who, got, oid, dB, want)
	}
	return err
}
