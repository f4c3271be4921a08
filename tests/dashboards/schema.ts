// Types of a dashboard file, by Grafana's own types. Each kind of panel has its own options.
import type * as common from "@grafana/schema";
import type * as dashboard from "@grafana/schema/dist/esm/raw/dashboard/x/Dashboard_types.gen";
import type * as stat from "@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen";
import type * as timeline from "@grafana/schema/dist/esm/raw/composable/statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen";
import type * as table from "@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen";
import type * as timeseries from "@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen";

// In a file, an enumeration is its text or number.
type Plain<T> = T extends string
  ? `${T}`
  : T extends number | boolean | null | undefined
    ? T
    : T extends (infer Item)[]
      ? Plain<Item>[]
      : unknown extends T
        ? T
        : T extends object
          ? { [Key in keyof T]: Plain<T[Key]> }
          : T;

// The package has no type of Prometheus' queries; these are the fields that Grafana documents.
interface Query {
  datasource: { type: "prometheus"; uid: "${datasource}" };
  expr: string;
  refId: string;
  legendFormat: string;
  editorMode: "code" | "builder";
  format: "time_series" | "table" | "heatmap";
  instant: boolean;
  range: boolean;
}

type Defaults<Custom> = Omit<Plain<dashboard.FieldConfig>, "custom" | "unit"> & { unit: string; custom?: Custom };

type PanelOf<Type extends string, Options, Custom = never> = Omit<
  Plain<dashboard.Panel>,
  "type" | "title" | "description" | "datasource" | "options" | "fieldConfig" | "targets"
> & {
  type: Type;
  title: string;
  description: string;
  datasource: Query["datasource"];
  gridPos: Plain<dashboard.GridPos>;
  options: Plain<Options>;
  targets: Query[];
  fieldConfig: {
    defaults: Defaults<Plain<Custom>>;
    overrides: Plain<dashboard.FieldConfigSource["overrides"]>;
  };
};

type Panel =
  | PanelOf<"stat", stat.Options>
  | PanelOf<"timeseries", timeseries.Options, timeseries.FieldConfig>
  | PanelOf<"state-timeline", timeline.Options, timeline.FieldConfig>
  | PanelOf<"table", table.Options, Partial<common.TableFieldOptions>>;

export type File = Omit<Plain<dashboard.Dashboard>, "panels"> & { uid: string; title: string; panels: Panel[] };
