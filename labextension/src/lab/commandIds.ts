/** What can be done by name. */
export const CommandIds = {
  dashboard: 'streaminfer:open-dashboard',
  resetDashboard: 'streaminfer:reset-dashboard',
  playground: 'streaminfer:open-playground',
  sidebar: 'streaminfer:show-sidebar',
  load: 'streaminfer:load-model',
  swap: 'streaminfer:swap-model',
  rollBack: 'streaminfer:roll-back-model',
  activate: 'streaminfer:activate-version',
  unload: 'streaminfer:unload-model',
  stop: 'streaminfer:stop-stream'
} as const;
