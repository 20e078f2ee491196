// Runs while the page is closed: shows what a push tells of an alarm, and opens the page at it. Knows nothing else, and asks the server nothing.
self.addEventListener("push", (event) => {
  let told = {};
  try {
    told = event.data?.json() ?? {};
  } catch {
    // what is no JSON is still an alarm
  }
  const { type = "alarm", camera = "", label = "", alarm = "" } = told,
    seems = label ? `appears to be ${label}` : "flagged";
  event.waitUntil(
    self.registration.showNotification(type === "test" ? "vlad: a test" : `vlad: ${camera}`, {
      body: type === "test" ? "Alarms reach this browser." : `${seems}; ${type}`,
      tag: alarm || "vlad",
      data: /^[0-9a-f]{32}$/.test(alarm) ? `/#alarms?alarm=${alarm}` : "/#alarms",
    }),
  );
});

self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  event.waitUntil(self.clients.openWindow(event.notification.data));
});
