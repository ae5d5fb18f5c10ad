// The threads that compute a step together. Work is handed out item by item: whoever is free takes the next
// one, so a thread that lost its core to somebody else delays the others by one item at most, and a helper that
// does not come at all by nothing.
#pragma once

#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>

#if defined(__x86_64__)
#define PAUSE() __builtin_ia32_pause()
#else
#define PAUSE() __asm__ volatile("yield")
#endif

typedef void (*Work)(void *context, int item);

struct Team {
    // epoch << 40 | items << 20 | next: one atomic addition both takes an item and tells whether it was one.
    uint64_t ticket;
    int32_t done;
    Work work;
    void *context;
    int32_t busy;  // a step is under way: helpers spin and do not sleep
    int32_t stopping;
    int32_t helpers;
    pthread_t *threads;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
};

constexpr int MAX_ITEMS = (1 << 20) - 1;
constexpr int SPINS = 2000;  // some 50 microseconds, more than what lies between two phases of a step

// Do one item, if there is one.
static bool take(Team *team) {
    uint64_t seen = __atomic_load_n(&team->ticket, __ATOMIC_ACQUIRE);
    if ((seen & MAX_ITEMS) >= (seen >> 20 & MAX_ITEMS)) return false;
    uint64_t ticket = __atomic_fetch_add(&team->ticket, 1, __ATOMIC_ACQ_REL);
    int item = ticket & MAX_ITEMS;
    if (item >= (int)(ticket >> 20 & MAX_ITEMS)) return false;
    // An item that was taken keeps its phase from ending, so work and context are those of the ticket.
    team->work(team->context, item);
    __atomic_fetch_add(&team->done, 1, __ATOMIC_RELEASE);
    return true;
}

static void *help(void *argument) {
    Team *team = (Team *)argument;
    int spins = 0;
    while (!__atomic_load_n(&team->stopping, __ATOMIC_ACQUIRE)) {
        if (take(team)) {
            spins = 0;
        } else if (spins++ < SPINS) {
            PAUSE();
        } else if (__atomic_load_n(&team->busy, __ATOMIC_ACQUIRE)) {
            sched_yield();
        } else {
            pthread_mutex_lock(&team->mutex);
            while (!team->busy && !team->stopping) pthread_cond_wait(&team->wake, &team->mutex);
            pthread_mutex_unlock(&team->mutex);
            spins = 0;
        }
    }
    return nullptr;
}

// Compute items 0 to items - 1; returns when all are done.
static void together(Team *team, int items, Work work, void *context) {
    if (team->helpers == 0 || items < 2) {
        for (int item = 0; item < items; item++) work(context, item);
        return;
    }
    team->work = work;
    team->context = context;
    __atomic_store_n(&team->done, 0, __ATOMIC_RELAXED);
    uint64_t epoch = (team->ticket >> 40) + 1;
    __atomic_store_n(&team->ticket, epoch << 40 | (uint64_t)items << 20, __ATOMIC_RELEASE);
    while (take(team)) {
    }
    for (int spins = 0; __atomic_load_n(&team->done, __ATOMIC_ACQUIRE) < items; spins++) {
        if (spins < SPINS) {
            PAUSE();
        } else {
            sched_yield();
        }
    }
}

static void begin(Team *team) {
    if (team->helpers == 0) return;
    pthread_mutex_lock(&team->mutex);
    __atomic_store_n(&team->busy, 1, __ATOMIC_RELEASE);
    pthread_cond_broadcast(&team->wake);
    pthread_mutex_unlock(&team->mutex);
}

static void end(Team *team) { __atomic_store_n(&team->busy, 0, __ATOMIC_RELEASE); }

static Team *gather(int helpers) {
    Team *team = (Team *)calloc(1, sizeof(Team));
    if (team == nullptr) return nullptr;
    pthread_mutex_init(&team->mutex, nullptr);
    pthread_cond_init(&team->wake, nullptr);
    team->threads = (pthread_t *)calloc(helpers + 1, sizeof(pthread_t));
    while (team->threads != nullptr && team->helpers < helpers) {
        if (pthread_create(&team->threads[team->helpers], nullptr, help, team) != 0) break;
        team->helpers++;
    }
    return team;
}

static void dismiss(Team *team) {
    pthread_mutex_lock(&team->mutex);
    __atomic_store_n(&team->stopping, 1, __ATOMIC_RELEASE);
    pthread_cond_broadcast(&team->wake);
    pthread_mutex_unlock(&team->mutex);
    for (int i = 0; i < team->helpers; i++) pthread_join(team->threads[i], nullptr);
    pthread_cond_destroy(&team->wake);
    pthread_mutex_destroy(&team->mutex);
    free(team->threads);
    free(team);
}
