// Runs ten-step and one-step workflows on a worker of Temporal's Go SDK and prints activities per second as JSON.
//
// Worker and callers are one process, as in the benchmarks of the Rust SDK.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"go.temporal.io/sdk/client"
	sdklog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
)

const queue = "bench-go"

// Activities carried out so far, counted where they happen.
var steps atomic.Uint64

func inSequence(ctx workflow.Context, count int) (int, error) {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute})
	for number := 0; number < count; number++ {
		if err := workflow.ExecuteActivity(ctx, step, number).Get(ctx, nil); err != nil {
			return 0, err
		}
	}
	return count, nil
}

func step(_ context.Context, number int) (int, error) {
	steps.Add(1)
	return number, nil
}

func main() {
	address := flag.String("address", "127.0.0.1:7233", "where Temporal's gRPC is served")
	count := flag.Int("steps", 10, "activities in a workflow")
	callers := flag.Int("callers", 400, "workflows in flight")
	window := flag.Duration("window", 8*time.Second, "how long it measures, after warming up for a quarter of it")
	flag.Parse()

	quiet := sdklog.NewStructuredLogger(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})))
	connection, err := client.Dial(client.Options{
		HostPort: *address,
		Logger:   quiet,
		// On one machine compressing costs more than it saves.
		ConnectionOptions: client.ConnectionOptions{GrpcCompression: &client.GrpcCompressionNone{}},
	})
	if err != nil {
		log.Fatalf("connect to %s: %v", *address, err)
	}
	defer connection.Close()
	hosted := worker.New(connection, queue, worker.Options{
		MaxConcurrentWorkflowTaskPollers:       16,
		MaxConcurrentActivityTaskPollers:       16,
		MaxConcurrentWorkflowTaskExecutionSize: 400,
	})
	hosted.RegisterWorkflow(inSequence)
	hosted.RegisterActivity(step)
	if err := hosted.Start(); err != nil {
		log.Fatalf("start the worker: %v", err)
	}

	failed := make(chan error, *callers)
	var numbers atomic.Uint64
	for range *callers {
		go func() {
			for {
				options := client.StartWorkflowOptions{ID: fmt.Sprintf("go-%d", numbers.Add(1)), TaskQueue: queue}
				run, err := connection.ExecuteWorkflow(context.Background(), options, inSequence, *count)
				if err == nil {
					err = run.Get(context.Background(), nil)
				}
				if err != nil {
					failed <- err
					return
				}
			}
		}()
	}
	wait(*window/4, failed)
	from, began := steps.Load(), time.Now()
	wait(*window, failed)
	rate := float64(steps.Load()-from) / time.Since(began).Seconds()
	if err := json.NewEncoder(os.Stdout).Encode(map[string]float64{"activities_per_second": rate}); err != nil {
		log.Fatal(err)
	}
}

// Ends the program if a caller fails meanwhile.
func wait(duration time.Duration, failed <-chan error) {
	select {
	case err := <-failed:
		log.Fatalf("a workflow failed: %v", err)
	case <-time.After(duration):
	}
}
