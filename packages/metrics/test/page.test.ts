import { Meters } from "@swarm-mesh/runtime";
import { expect, test } from "vitest";
import { metricsPage } from "../src/mod.ts";

test("writes counters, gauges and histograms as Prometheus reads them", async () => {
  const meters = new Meters();
  meters
    .counters({ name: "t_total", help: "T.", labels: ["why"] })
    .of('a"b\\c\n')
    .inc(2);
  meters.gauge({ name: "t_now", help: "Now." }, () => 1.5);
  const histogram = meters.histogram({ name: "t_seconds", help: "S." }, [0.1, 1]);
  for (const seconds of [0.05, 0.5, 5]) histogram.observe(seconds);
  const text = await (await metricsPage(meters)).text();
  expect(text).toContain(
    '# HELP t_total T.\n# TYPE t_total counter\nt_total{why="a\\"b\\\\c\\n"} 2\n',
  );
  expect(text).toContain("# TYPE t_now gauge\nt_now 1.5\n");
  expect(text).toContain(
    't_seconds_bucket{le="0.1"} 1\nt_seconds_bucket{le="1"} 2\nt_seconds_bucket{le="+Inf"} 3\n' +
      "t_seconds_sum 5.55\nt_seconds_count 3\n",
  );
  expect(text).toContain("process_cpu_seconds_total");
  expect(text).toContain("nodejs_eventloop_lag_p99_seconds");
});

test("what cannot be read is left out, and what comes later is there", async () => {
  const meters = new Meters();
  meters.gauge({ name: "t_away", help: "A." }, () => Promise.reject(new Error("away")));
  const page = await metricsPage(meters);
  expect(await page.text()).not.toMatch(/^t_away/m);
  meters.counter({ name: "t_late_total", help: "L." }).inc();
  expect(await page.text()).toContain("t_late_total 1\n");
});
