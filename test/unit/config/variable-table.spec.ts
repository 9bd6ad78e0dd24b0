import { describe, expect, it } from '@jest/globals';
import {
  TABLE_END,
  TABLE_START,
  renderVariableTable,
  withVariableTable,
} from '../../../src/config/variable-table.js';

describe('the table of variables', () => {
  it('has one row a variable, with default, unit and meaning', () => {
    const row = renderVariableTable()
      .split('\n')
      .filter((line) => line.includes('`QUEUE_HIGH_WATER_MARK`'));
    expect(row).toHaveLength(1);
    const cells = row[0]?.split('|').map((cell) => cell.trim());
    expect(cells?.slice(1, 4)).toEqual(['`QUEUE_HIGH_WATER_MARK`', '`1000`', 'messages']);
    expect(cells?.[4]).toMatch(/^Depth above/);
  });

  it('goes between the markers and stays the same the second time', () => {
    const before = `# Title\n\n${TABLE_START}\nold\n${TABLE_END}\n\nEnd\n`;
    const once = withVariableTable(before);
    expect(once).toContain('| `PORT` ');
    expect(once).not.toContain('\nold\n');
    expect(once.endsWith(`${TABLE_END}\n\nEnd\n`)).toBe(true);
    expect(withVariableTable(once)).toBe(once);
  });

  it('asks for the markers', () => {
    expect(() => withVariableTable('# Title\n')).toThrow(TABLE_START);
  });
});
