// Scenarios that use nsqd through go-nsq: `scenarios <name> <address>...`. The address is nsqd's for TCP; those
// of `discover` are nsqlookupds' for HTTP. NSQ_LAYERS in the environment puts layers on all connections,
// NSQ_SECRET has them authenticate.
// Exit status 0 and a short report, or 1 and the reason.
package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nsqio/go-nsq"
)

const (
	topic   = "go"
	channel = "scenarios"
	// More than any scenario should take.
	patience = 30 * time.Second
)

type setup struct {
	address   string   // the first
	addresses []string // all
}

var scenarios = map[string]func(setup) error{
	"publish":          publish,
	"multi-publish":    multiPublish,
	"deferred-publish": deferredPublish,
	"consume-one":      func(s setup) error { return consume(s, 50, 1) },
	"consume-many":     func(s setup) error { return consume(s, 1000, 100) },
	"requeue":          requeue,
	"touch":            touch,
	"timeout":          timeout,
	"reconnect":        reconnect,
	"kills":            kills,
	"large-body":       largeBody,
	"heartbeat":        heartbeat,
	"discover":         discover,
	"pauses":           pauses,
	"default-pauses":   defaultPauses,
	"single-pauses":    singlePauses,
	"rate":             rate,
	"drain":            drain,
}

func main() {
	if len(os.Args) < 3 {
		fail(fmt.Errorf("usage: %s <scenario> <address>...", os.Args[0]))
	}
	scenario, known := scenarios[os.Args[1]]
	if !known {
		fail(fmt.Errorf("no scenario %q", os.Args[1]))
	}
	if err := scenario(setup{address: os.Args[2], addresses: os.Args[2:]}); err != nil {
		fail(err)
	}
}

func publish(s setup) error {
	producer := s.producer(nsq.NewConfig())
	defer producer.Stop()
	if err := producer.Ping(); err != nil {
		return fmt.Errorf("ping: %w", err)
	}
	for i := range 5 {
		if err := producer.Publish(topic, body(i)); err != nil {
			return fmt.Errorf("publish: %w", err)
		}
	}
	done := make(chan *nsq.ProducerTransaction, 5)
	for i := range 5 {
		if err := producer.PublishAsync(topic, body(5+i), done); err != nil {
			return fmt.Errorf("publish without waiting: %w", err)
		}
	}
	for range 5 {
		if answer := <-done; answer.Error != nil {
			return fmt.Errorf("answer: %w", answer.Error)
		}
	}
	return nil
}

func multiPublish(s setup) error {
	producer := s.producer(nsq.NewConfig())
	defer producer.Stop()
	return producer.MultiPublish(topic, bodies(0, 10))
}

func deferredPublish(s setup) error {
	const delay = 700 * time.Millisecond
	received := make(chan time.Time, 1)
	consumer, err := s.consumer(nsq.NewConfig(), 1, func(message *nsq.Message) error {
		received <- time.Now()
		return nil
	})
	if err != nil {
		return err
	}
	defer consumer.Stop()
	producer := s.producer(nsq.NewConfig())
	defer producer.Stop()
	published := time.Now()
	if err := producer.DeferredPublish(topic, delay, []byte("later")); err != nil {
		return err
	}
	select {
	case at := <-received:
		if at.Sub(published) < delay {
			return fmt.Errorf("came after %v, not %v", at.Sub(published), delay)
		}
	case <-time.After(patience):
		return fmt.Errorf("never came")
	}
	return finish(consumer)
}

// consume takes count messages and never holds more than maxInFlight.
func consume(s setup, count int, maxInFlight int) error {
	if err := s.publishAll(bodies(0, count)); err != nil {
		return err
	}
	var held atomic.Int64
	var tooMany atomic.Bool
	seen := newSeen(count)
	config := nsq.NewConfig()
	config.MaxInFlight = maxInFlight
	consumer, err := s.consumer(config, maxInFlight, func(message *nsq.Message) error {
		if held.Add(1) > int64(maxInFlight) {
			tooMany.Store(true)
		}
		defer held.Add(-1)
		seen.add(string(message.Body))
		return nil
	})
	if err != nil {
		return err
	}
	if err := seen.wait(); err != nil {
		return err
	}
	if tooMany.Load() {
		return fmt.Errorf("more than %d in flight", maxInFlight)
	}
	return finish(consumer)
}

func requeue(s setup) error {
	const delay = 200 * time.Millisecond
	if err := s.publishAll(bodies(0, 1)); err != nil {
		return err
	}
	var attempts []uint16
	var requeued time.Time
	result := make(chan error, 1)
	consumer, err := s.consumer(nsq.NewConfig(), 1, func(message *nsq.Message) error {
		attempts = append(attempts, message.Attempts)
		if since := time.Since(requeued); since < delay {
			result <- fmt.Errorf("came back after %v, not %v", since, delay)
		}
		if len(attempts) < 4 {
			requeued = time.Now()
			message.RequeueWithoutBackoff(delay)
			return nil
		}
		result <- nil
		return nil
	})
	if err != nil {
		return err
	}
	if err := await(result); err != nil {
		return err
	}
	if fmt.Sprint(attempts) != "[1 2 3 4]" {
		return fmt.Errorf("attempts %v", attempts)
	}
	return finish(consumer)
}

// touch holds a message for more than twice its timeout.
func touch(s setup) error {
	if err := s.publishAll(bodies(0, 1)); err != nil {
		return err
	}
	config := nsq.NewConfig()
	config.MsgTimeout = time.Second
	result := make(chan error, 8)
	consumer, err := s.consumer(config, 1, func(message *nsq.Message) error {
		if message.Attempts != 1 {
			result <- fmt.Errorf("delivered again, attempts %d", message.Attempts)
			return nil
		}
		for range 8 {
			time.Sleep(300 * time.Millisecond)
			message.Touch()
		}
		result <- nil
		return nil
	})
	if err != nil {
		return err
	}
	if err := await(result); err != nil {
		return err
	}
	return finish(consumer)
}

func timeout(s setup) error {
	if err := s.publishAll(bodies(0, 1)); err != nil {
		return err
	}
	config := nsq.NewConfig()
	config.MsgTimeout = time.Second
	var first time.Time
	result := make(chan error, 1)
	consumer, err := s.consumer(config, 1, func(message *nsq.Message) error {
		switch message.Attempts {
		case 1:
			first = time.Now()
			message.DisableAutoResponse()
		case 2:
			// nsqd counts from when it sent the message, which was a little earlier.
			if held := time.Since(first); held < 900*time.Millisecond {
				result <- fmt.Errorf("came back after %v", held)
			}
			result <- nil
		default:
			result <- fmt.Errorf("attempts %d", message.Attempts)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := await(result); err != nil {
		return err
	}
	// The first delivery is never answered, so this connection does not end by itself.
	time.Sleep(100 * time.Millisecond)
	consumer.Stop()
	return nil
}

// reconnect has nsqd killed while messages are queued, and publishes more afterwards.
func reconnect(s setup) error {
	const before, after = 200, 100
	if err := s.publishAll(bodies(0, before)); err != nil {
		return err
	}
	config := nsq.NewConfig()
	config.LookupdPollInterval = 100 * time.Millisecond // also how often a lost nsqd is tried again
	config.LookupdPollJitter = 0
	config.MsgTimeout = time.Second
	seen := newSeen(before + after)
	consumer, err := s.consumer(config, 1, func(message *nsq.Message) error {
		time.Sleep(2 * time.Millisecond)
		seen.add(string(message.Body))
		return nil
	})
	if err != nil {
		return err
	}
	defer consumer.Stop()
	producer := s.producer(nsq.NewConfig())
	defer producer.Stop()
	if err := producer.Publish(topic, body(before)); err != nil {
		return err
	}
	for seen.count() < 20 {
		time.Sleep(time.Millisecond)
	}
	restart()
	for i := range after {
		deadline := time.Now().Add(patience)
		for producer.Publish(topic, body(before+i)) != nil {
			if time.Now().After(deadline) {
				return fmt.Errorf("the producer does not come back")
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	return seen.wait()
}

// kills publishes and consumes while the test kills nsqd again and again. What was answered must come, sooner or later.
func kills(s setup) error {
	config := nsq.NewConfig()
	config.LookupdPollInterval = 50 * time.Millisecond // also how often a lost nsqd is tried again
	config.LookupdPollJitter = 0
	config.MsgTimeout = time.Second
	config.DefaultRequeueDelay = 50 * time.Millisecond
	config.MaxBackoffDuration = 0
	config.MaxAttempts = 0
	config.MaxInFlight = 100
	var seen sync.Map
	var deliveries, requeued atomic.Int64
	consumer, err := s.consumer(config, 4, func(message *nsq.Message) error {
		count := deliveries.Add(1)
		seen.Store(string(message.Body), true)
		if count%50 == 0 {
			requeued.Add(1)
			return fmt.Errorf("again, please")
		}
		return nil
	})
	if err != nil {
		return err
	}
	defer consumer.Stop()
	producer := s.producer(nsq.NewConfig())
	defer producer.Stop()
	count, failures := 0, 0
	for tell("more") == "yes" {
		// Half a second's work; a kill falls anywhere in it.
		for round := range 60 {
			batch := bodies(count, []int{1, 1, 20}[round%3])
			count += len(batch)
			deadline := time.Now().Add(patience)
			for {
				var err error
				switch round % 3 {
				case 0:
					err = producer.Publish(topic, batch[0])
				case 1:
					err = producer.DeferredPublish(topic, 20*time.Millisecond, batch[0])
				default:
					err = producer.MultiPublish(topic, batch)
				}
				if err == nil {
					break
				}
				failures++
				if time.Now().After(deadline) {
					return fmt.Errorf("the producer does not come back: %w", err)
				}
				time.Sleep(5 * time.Millisecond)
			}
			time.Sleep(2 * time.Millisecond)
		}
	}
	missing := func() int {
		missing := 0
		for i := range count {
			if _, came := seen.Load(string(body(i))); !came {
				missing++
			}
		}
		return missing
	}
	err = until("all messages come", func() bool { return missing() == 0 })
	fmt.Printf("%d published, %d publishes tried again, %d deliveries, %d requeued, %d lost\n",
		count, failures, deliveries.Load(), requeued.Load(), missing())
	return err
}

func largeBody(s setup) error {
	sent := bytes.Repeat([]byte("0123456789"), 10_000)
	if err := s.publishAll([][]byte{sent}); err != nil {
		return err
	}
	result := make(chan error, 1)
	consumer, err := s.consumer(nsq.NewConfig(), 1, func(message *nsq.Message) error {
		if bytes.Equal(message.Body, sent) {
			result <- nil
		} else {
			result <- fmt.Errorf("another body of %d bytes came back", len(message.Body))
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := await(result); err != nil {
		return err
	}
	return finish(consumer)
}

// heartbeat idles for longer than nsqd lets a client be silent.
func heartbeat(s setup) error {
	config := nsq.NewConfig()
	config.HeartbeatInterval = time.Second
	var lost atomic.Bool
	received := make(chan error, 1)
	consumer, err := s.consumer(config, 1, func(message *nsq.Message) error {
		received <- nil
		return nil
	})
	if err != nil {
		return err
	}
	producer := s.producer(config)
	defer producer.Stop()
	if err := producer.Ping(); err != nil {
		return err
	}
	until := time.Now().Add(3500 * time.Millisecond)
	for time.Now().Before(until) {
		if consumer.Stats().Connections != 1 {
			lost.Store(true)
		}
		time.Sleep(50 * time.Millisecond)
	}
	if lost.Load() {
		return fmt.Errorf("the consumer's connection was lost")
	}
	if err := producer.Publish(topic, body(0)); err != nil {
		return fmt.Errorf("publish after idling: %w", err)
	}
	if err := await(received); err != nil {
		return err
	}
	return finish(consumer)
}

// discover knows only nsqlookupds. One of the nsqds that it finds there is killed; the test says how many messages
// there are in the end.
func discover(s setup) error {
	config := nsq.NewConfig()
	config.LookupdPollInterval = 100 * time.Millisecond
	config.LookupdPollJitter = 0
	config.MaxInFlight = 4
	config.MsgTimeout = time.Second
	consumer, err := nsq.NewConsumer(topic, channel, config)
	if err != nil {
		return err
	}
	var mutex sync.Mutex
	bodies, nsqds := map[string]bool{}, map[string]bool{}
	consumer.AddHandler(nsq.HandlerFunc(func(message *nsq.Message) error {
		time.Sleep(2 * time.Millisecond)
		mutex.Lock()
		defer mutex.Unlock()
		bodies[string(message.Body)] = true
		nsqds[message.NSQDAddress] = true
		return nil
	}))
	if err := consumer.ConnectToNSQLookupds(s.addresses); err != nil {
		return err
	}
	err = until("some come from two nsqds", func() bool {
		mutex.Lock()
		defer mutex.Unlock()
		return len(nsqds) >= 2
	})
	if err != nil {
		return err
	}
	published, err := strconv.Atoi(restart())
	if err != nil {
		return err
	}
	err = until(fmt.Sprintf("%d messages come", published), func() bool {
		mutex.Lock()
		defer mutex.Unlock()
		return len(bodies) == published
	})
	if err != nil {
		return err
	}
	return finish(consumer)
}

// pauses knows only nsqlookupds and has default settings but for the number in flight.
func pauses(s setup) error {
	config := nsq.NewConfig()
	config.MaxInFlight = 3
	return longestPause(config, func(consumer *nsq.Consumer) error {
		return consumer.ConnectToNSQLookupds(s.addresses)
	})
}

// defaultPauses knows only nsqlookupds and has default settings: one message in flight.
func defaultPauses(s setup) error {
	return longestPause(nsq.NewConfig(), func(consumer *nsq.Consumer) error {
		return consumer.ConnectToNSQLookupds(s.addresses)
	})
}

// singlePauses knows one nsqd and has default settings: one message in flight.
func singlePauses(s setup) error {
	return longestPause(nsq.NewConfig(), func(consumer *nsq.Consumer) error {
		return consumer.ConnectToNSQD(s.address)
	})
}

// rate knows some nsqds and has default settings: one message in flight. Reports how many messages come in a second.
func rate(s setup) error {
	count, err := strconv.Atoi(os.Getenv("NSQ_COUNT"))
	if err != nil {
		return err
	}
	consumer, err := nsq.NewConsumer(topic, channel, nsq.NewConfig())
	if err != nil {
		return err
	}
	var mutex sync.Mutex
	var times []time.Time
	consumer.AddHandler(nsq.HandlerFunc(func(*nsq.Message) error {
		mutex.Lock()
		defer mutex.Unlock()
		times = append(times, time.Now())
		return nil
	}))
	if err := consumer.ConnectToNSQDs(s.addresses); err != nil {
		return err
	}
	err = until(fmt.Sprintf("%d messages come", count), func() bool {
		mutex.Lock()
		defer mutex.Unlock()
		return len(times) >= count
	})
	if err != nil {
		return err
	}
	took := times[count-1].Sub(times[0])
	fmt.Printf("rate %.0f messages/s\n", float64(count-1)/took.Seconds())
	return finish(consumer)
}

// longestPause reports the longest time until a message came. Bodies say when they were published, in nanoseconds.
func longestPause(config *nsq.Config, connect func(*nsq.Consumer) error) error {
	consumer, err := nsq.NewConsumer(topic, channel, config)
	if err != nil {
		return err
	}
	var mutex sync.Mutex
	bodies, longest := map[string]bool{}, time.Duration(0)
	consumer.AddHandler(nsq.HandlerFunc(func(message *nsq.Message) error {
		published, err := strconv.ParseInt(string(message.Body), 10, 64)
		if err != nil {
			return err
		}
		mutex.Lock()
		defer mutex.Unlock()
		if !bodies[string(message.Body)] {
			bodies[string(message.Body)] = true
			longest = max(longest, time.Since(time.Unix(0, published)))
		}
		return nil
	}))
	if err := connect(consumer); err != nil {
		return err
	}
	err = until("some come", func() bool {
		mutex.Lock()
		defer mutex.Unlock()
		return len(bodies) >= 20
	})
	if err != nil {
		return err
	}
	published, err := strconv.Atoi(restart())
	if err != nil {
		return err
	}
	err = until(fmt.Sprintf("%d messages come", published), func() bool {
		mutex.Lock()
		defer mutex.Unlock()
		return len(bodies) >= published
	})
	if err != nil {
		return err
	}
	fmt.Printf("longest %d ms\n", longest.Milliseconds())
	return finish(consumer)
}

// drain knows only nsqlookupds. The nsqd that has the messages is drained into another one meanwhile; the test says how
// many messages there are. Reports how many came more than once.
func drain(s setup) error {
	var mutex sync.Mutex
	seen := map[string]map[string]int{"one": {}, "two": {}}
	least := func() int {
		mutex.Lock()
		defer mutex.Unlock()
		return min(len(seen["one"]), len(seen["two"]))
	}
	for _, channel := range []string{"one", "two"} {
		config := nsq.NewConfig()
		config.LookupdPollInterval = 100 * time.Millisecond
		config.LookupdPollJitter = 0
		config.MaxInFlight = 20
		consumer, err := nsq.NewConsumer(topic, channel, config)
		if err != nil {
			return err
		}
		consumer.AddHandler(nsq.HandlerFunc(func(message *nsq.Message) error {
			time.Sleep(100 * time.Microsecond)
			mutex.Lock()
			defer mutex.Unlock()
			seen[channel][string(message.Body)]++
			return nil
		}))
		if err := consumer.ConnectToNSQLookupds(s.addresses); err != nil {
			return err
		}
		defer consumer.Stop()
	}
	if err := until("some come", func() bool { return least() >= 100 }); err != nil {
		return err
	}
	published, err := strconv.Atoi(restart())
	if err != nil {
		return err
	}
	err = until(fmt.Sprintf("%d messages come", published), func() bool { return least() == published })
	if err != nil {
		return err
	}
	mutex.Lock()
	defer mutex.Unlock()
	repeats := 0
	for _, bodies := range seen {
		for _, times := range bodies {
			repeats += times - 1
		}
	}
	fmt.Printf("%d messages to each of 2 channels, %d repeats\n", published, repeats)
	return nil
}

func until(what string, holds func() bool) error {
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("waited %v in vain: %s", patience, what)
		}
	}
	return nil
}

// layered puts on the layers that the environment names.
func layered(config *nsq.Config) *nsq.Config {
	config.AuthSecret = os.Getenv("NSQ_SECRET")
	for _, layer := range strings.Fields(os.Getenv("NSQ_LAYERS")) {
		switch layer {
		case "tls":
			config.TlsV1 = true
			config.TlsConfig = tlsConfig()
		case "snappy":
			config.Snappy = true
		case "deflate":
			config.Deflate = true
		default:
			fail(fmt.Errorf("no layer %q", layer))
		}
	}
	return config
}

func tlsConfig() *tls.Config {
	authorities := x509.NewCertPool()
	text, err := os.ReadFile(os.Getenv("NSQ_CA"))
	if err != nil || !authorities.AppendCertsFromPEM(text) {
		fail(fmt.Errorf("no authorities: %v", err))
	}
	config := &tls.Config{RootCAs: authorities}
	if shown := os.Getenv("NSQ_CERT"); shown != "" {
		certificate, err := tls.LoadX509KeyPair(shown, os.Getenv("NSQ_KEY"))
		if err != nil {
			fail(err)
		}
		config.Certificates = []tls.Certificate{certificate}
	}
	return config
}

func (s setup) producer(config *nsq.Config) *nsq.Producer {
	producer, err := nsq.NewProducer(s.address, layered(config))
	if err != nil {
		fail(err)
	}
	return producer
}

func (s setup) publishAll(all [][]byte) error {
	producer := s.producer(nsq.NewConfig())
	defer producer.Stop()
	for _, one := range all {
		if err := producer.Publish(topic, one); err != nil {
			return fmt.Errorf("publish: %w", err)
		}
	}
	return nil
}

func (s setup) consumer(config *nsq.Config, handlers int, handle nsq.HandlerFunc) (*nsq.Consumer, error) {
	consumer, err := nsq.NewConsumer(topic, channel, layered(config))
	if err != nil {
		return nil, err
	}
	consumer.AddConcurrentHandlers(handle, handlers)
	return consumer, consumer.ConnectToNSQD(s.address)
}

// seen collects distinct bodies until there are enough.
type seen struct {
	mutex  sync.Mutex
	bodies map[string]bool
	wanted int
	all    chan error
}

func newSeen(wanted int) *seen {
	return &seen{bodies: map[string]bool{}, wanted: wanted, all: make(chan error, 1)}
}

func (s *seen) add(body string) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.bodies[body] {
		return
	}
	s.bodies[body] = true
	if len(s.bodies) == s.wanted {
		s.all <- nil
	}
}

func (s *seen) count() int {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return len(s.bodies)
}

func (s *seen) wait() error {
	if err := await(s.all); err != nil {
		return fmt.Errorf("%d of %d messages: %w", s.count(), s.wanted, err)
	}
	return nil
}

func await(result <-chan error) error {
	select {
	case err := <-result:
		return err
	case <-time.After(patience):
		return fmt.Errorf("nothing for %v", patience)
	}
}

// finish closes the consumer as its users do and waits for the end of that.
func finish(consumer *nsq.Consumer) error {
	consumer.Stop()
	select {
	case <-consumer.StopChan:
		return nil
	case <-time.After(5 * time.Second):
		return fmt.Errorf("the consumer does not stop")
	}
}

// restart has the test kill nsqd and start it again, and returns what the test says then.
func restart() string {
	return tell("restart")
}

// tell says something to the test, and returns what it answers.
func tell(what string) string {
	fmt.Println(what)
	answer := bufio.NewScanner(os.Stdin)
	if !answer.Scan() {
		fail(fmt.Errorf("the test is gone"))
	}
	return answer.Text()
}

func body(i int) []byte {
	return []byte(fmt.Sprintf("message %d", i))
}

func bodies(from int, count int) [][]byte {
	all := make([][]byte, count)
	for i := range all {
		all[i] = body(from + i)
	}
	return all
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
