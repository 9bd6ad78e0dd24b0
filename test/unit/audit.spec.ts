import { describe, expect, it } from '@jest/globals';
import { judge, readReport } from '../../scripts/audit.mjs';

const hole = (id: string, severity: string): object => ({
  source: 1,
  name: 'some-package',
  title: 'a hole',
  url: `https://github.com/advisories/${id}`,
  severity,
});
const report = (vulnerabilities: object): string =>
  JSON.stringify({ auditReportVersion: 2, vulnerabilities });

describe('npm audit', () => {
  it('fails on high and critical holes alone, each counted once, and not on excepted ones', () => {
    const advisories = readReport(
      report({
        one: { via: [hole('GHSA-aaaa-bbbb-0001', 'critical'), hole('GHSA-aaaa-bbbb-0002', 'moderate')] },
        two: { via: ['one', hole('GHSA-aaaa-bbbb-0001', 'critical'), hole('GHSA-aaaa-bbbb-0003', 'high')] },
      }),
    )!;
    expect(advisories).toHaveLength(3);
    const { failing, excepted, stale } = judge(advisories, {
      'GHSA-aaaa-bbbb-0003': 'only in code that we do not call',
      'GHSA-aaaa-bbbb-0009': 'was there once, and is gone now',
    });
    expect(failing.map(({ id }) => id)).toEqual(['GHSA-aaaa-bbbb-0001']);
    expect(excepted.map(({ id }) => id)).toEqual(['GHSA-aaaa-bbbb-0003']);
    expect(stale).toEqual(['GHSA-aaaa-bbbb-0009']);
  });

  it('tells an answer without a report from a report without holes', () => {
    expect(readReport(report({}))).toEqual([]);
    expect(readReport('{"message":"405 Method Not Allowed","statusCode":405}')).toBeUndefined();
    expect(readReport('')).toBeUndefined();
  });
});
