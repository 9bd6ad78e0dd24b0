import type { Metric, MetricValueWithName, Registry } from 'prom-client';

interface Series {
  /** How many values are at most as large as the bound of this place, and larger than the one before. */
  counts: number[];
  count: number;
  sum: number;
}

export interface HistogramOptions {
  name: string;
  help: string;
  labels: readonly string[];
  /** Upper bounds, s, ascending. */
  bounds: readonly number[];
}

/** No label has it in its value. */
export const BETWEEN_VALUES = '\n';

/**
 * A histogram for what is observed thousands of times a second. prom-client's own wants an object of the labels for each
 * value and makes a text of it in several steps, to look its series up by: 1 µs and 300 bytes. What a scrape reads is the same.
 */
export class DurationHistogram {
  readonly name: string;
  private readonly series = new Map<string, Series>();

  constructor(
    registry: Registry,
    private readonly options: HistogramOptions,
  ) {
    this.name = options.name;
    if (options.labels.length === 0) {
      this.seriesOf('');
    }
    // By its type it wants one of prom-client's own classes; it calls `get` and no more.
    registry.registerMetric(this as unknown as Metric);
  }

  /** @param values of the labels, in their order, with `BETWEEN_VALUES` in between */
  observe(seconds: number, values = ''): void {
    const series = this.seriesOf(values);
    series.count++;
    series.sum += seconds;
    const place = this.options.bounds.findIndex((bound) => seconds <= bound);
    if (place >= 0) {
      series.counts[place]!++;
    }
  }

  /** What a scrape reads. */
  async get(): Promise<object> {
    const { name, help } = this.options;
    const values = [...this.series].flatMap(([labelled, series]) => this.valuesOf(series, labelled));
    return { name, help, type: 'histogram', aggregator: 'sum', values };
  }

  private seriesOf(values: string): Series {
    let series = this.series.get(values);
    if (series === undefined) {
      series = { counts: this.options.bounds.map(() => 0), count: 0, sum: 0 };
      this.series.set(values, series);
    }
    return series;
  }

  private valuesOf({ counts, count, sum }: Series, labelled: string): MetricValueWithName<string>[] {
    const { name, bounds } = this.options;
    const values = labelled.split(BETWEEN_VALUES);
    const labels = Object.fromEntries(this.options.labels.map((label, place) => [label, values[place]!]));
    let upTo = 0;
    const buckets = bounds.map((le, place) => ({ le, value: (upTo += counts[place]!) }));
    return [
      ...[...buckets, { le: '+Inf', value: count }].map((bucket) => ({
        metricName: `${name}_bucket`,
        labels: { le: bucket.le, ...labels },
        value: bucket.value,
      })),
      { metricName: `${name}_sum`, labels, value: sum },
      { metricName: `${name}_count`, labels, value: count },
    ];
  }
}
